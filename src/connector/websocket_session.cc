#include "connector/websocket_session.h"

#include <chrono>
#include <type_traits>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

namespace utp::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;
using PlainStream = beast::tcp_stream;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

template <class Stream>
class SessionOf final : public Session, public std::enable_shared_from_this<SessionOf<Stream>> {
  static constexpr bool kTls = std::is_same_v<Stream, TlsStream>;

 public:
  SessionOf(asio::io_context& io, asio::ssl::context& tls, SessionOptions options, SessionEvents& events)
      : options_(std::move(options)), events_(&events), resolver_(io), close_timer_(io), stream_(make(io, tls)) {}

  void start() override {
    resolver_.async_resolve(options_.url.host, options_.url.port,
                            [self = this->shared_from_this()](ErrorCode error, Tcp::resolver::results_type results) {
                              if (error) return self->end("name " + self->options_.url.host + ": " + error.message());
                              // A look-up that is under way cannot be cancelled: by now nobody may want the connection.
                              if (self->events_ != nullptr) self->connect(results);
                            });
  }

  void send(std::string text) override {
    outgoing_ = std::move(text);
    if (events_ != nullptr) events_->on_sent(outgoing_);
    if (events_ == nullptr) return;
    stream_.async_write(asio::buffer(outgoing_), [self = this->shared_from_this()](ErrorCode error, std::size_t) {
      if (error) return self->end("write: " + error.message());
      if (self->events_ != nullptr) self->events_->on_idle();
    });
  }

  void ping() override {
    if (pinging_) return;
    pinging_ = true;
    stream_.async_ping({}, [self = this->shared_from_this()](ErrorCode error) {
      self->pinging_ = false;
      if (error) self->end("ping: " + error.message());
    });
  }

  void close() override {
    // A peer that does not answer the close within this time is cut off.
    close_timer_.expires_after(std::chrono::milliseconds(300));
    close_timer_.async_wait([self = this->shared_from_this()](ErrorCode error) {
      if (!error) self->end("closed by us");
    });
    if (!open_ || closing_) return end("closed by us");
    closing_ = true;
    stream_.async_close(websocket::close_code::normal,
                        [self = this->shared_from_this()](ErrorCode) { self->end("closed by us"); });
  }

  void abandon() override {
    events_ = nullptr;
    shut();
  }

 private:
  websocket::stream<Stream> make(asio::io_context& io, asio::ssl::context& tls) {
    if constexpr (kTls) {
      return websocket::stream<Stream>(io, tls);
    } else {
      (void)tls;
      return websocket::stream<Stream>(io);
    }
  }

  void connect(const Tcp::resolver::results_type& results) {
    beast::get_lowest_layer(stream_).async_connect(
        results, [self = this->shared_from_this()](ErrorCode error, const Tcp::endpoint&) {
          if (error) return self->end("connect: " + error.message());
          if (self->events_ == nullptr) return;
          ErrorCode ignored;
          beast::get_lowest_layer(self->stream_).socket().set_option(Tcp::no_delay(true), ignored);
          self->secure();
        });
  }

  void secure() {
    if constexpr (kTls) {
      auto& tls = stream_.next_layer();
      const std::string& host = options_.url.host;
      if (!expect_host(tls.native_handle(), host)) return end("TLS: the host name " + host + " cannot be used");
      tls.async_handshake(asio::ssl::stream_base::client, [self = this->shared_from_this()](ErrorCode error) {
        if (!error) return self->upgrade();
        std::string reason = "TLS: " + error.message();
        const long verdict = SSL_get_verify_result(self->stream_.next_layer().native_handle());
        if (verdict != X509_V_OK) {
          reason += std::string(" (certificate of ") + self->options_.url.host + ": " + X509_verify_cert_error_string(verdict) + ")";
        }
        self->end(std::move(reason));
      });
    } else {
      upgrade();
    }
  }

  void upgrade() {
    // Times are kept by the owner, which knows when it was itself held up by backpressure.
    stream_.set_option(websocket::stream_base::timeout{websocket::stream_base::none(), websocket::stream_base::none(), false});
    websocket::permessage_deflate deflate;
    deflate.client_enable = options_.deflate;
    stream_.set_option(deflate);
    if (options_.message_bytes_max > 0) stream_.read_message_max(options_.message_bytes_max);
    stream_.set_option(websocket::stream_base::decorator([](websocket::request_type& request) { request.set(beast::http::field::user_agent, "utp"); }));
    stream_.control_callback([this](websocket::frame_type kind, beast::string_view) {
      if (kind != websocket::frame_type::close && events_ != nullptr) events_->on_bytes();
    });
    stream_.text(true);
    stream_.async_handshake(answer_, options_.url.authority(), options_.url.target,
                            [self = this->shared_from_this()](ErrorCode error) { self->upgraded(error); });
  }

  void upgraded(ErrorCode error) {
    if (error) {
      std::string reason = "handshake: " + error.message();
      if (error == websocket::error::upgrade_declined) {
        reason += " (HTTP " + std::to_string(answer_.result_int()) + ")";
      }
      return end(std::move(reason));
    }
    open_ = true;
    if (events_ != nullptr) events_->on_open();
    read();
  }

  // Piece by piece: a large message on a slow line is no silence.
  void read() {
    if (events_ == nullptr) return;
    stream_.async_read_some(buffer_, 0, [self = this->shared_from_this()](ErrorCode error, std::size_t) {
      if (error) return self->end(self->end_reason(error));
      if (self->events_ != nullptr) self->events_->on_bytes();
      if (self->stream_.is_message_done()) self->message();
      self->read();
    });
  }

  void message() {
    if (events_ != nullptr) {
      const auto data = buffer_.cdata();
      events_->on_message({static_cast<const char*>(data.data()), data.size()});
    }
    buffer_.consume(buffer_.size());
    // A snapshot of megabytes is no reason to hold them for good.
    if (buffer_.capacity() > kBufferKeptBytes) buffer_ = beast::flat_buffer();
  }

  std::string end_reason(ErrorCode error) const {
    if (error != websocket::error::closed) return "read: " + error.message();
    const auto& why = stream_.reason();
    std::string reason = "closed by the venue, code " + std::to_string(static_cast<unsigned>(why.code));
    if (!why.reason.empty()) reason += ": " + std::string(why.reason.data(), why.reason.size());
    return reason;
  }

  void end(std::string reason) {
    SessionEvents* events = std::exchange(events_, nullptr);
    shut();
    if (events != nullptr) events->on_end(std::move(reason));
  }

  void shut() {
    close_timer_.cancel();
    resolver_.cancel();
    ErrorCode ignored;
    beast::get_lowest_layer(stream_).socket().close(ignored);
    beast::get_lowest_layer(stream_).cancel();
  }

  static constexpr std::size_t kBufferKeptBytes = 1u << 20;

  SessionOptions options_;
  SessionEvents* events_;
  Tcp::resolver resolver_;
  asio::steady_timer close_timer_;
  websocket::stream<Stream> stream_;
  websocket::response_type answer_;
  beast::flat_buffer buffer_;
  std::string outgoing_;
  bool open_ = false;
  bool pinging_ = false;
  bool closing_ = false;
};

}  // namespace

std::shared_ptr<Session> make_session(asio::io_context& io, asio::ssl::context& tls, SessionOptions options,
                                      SessionEvents& events) {
  if (options.url.tls) return std::make_shared<SessionOf<TlsStream>>(io, tls, std::move(options), events);
  return std::make_shared<SessionOf<PlainStream>>(io, tls, std::move(options), events);
}

bool expect_host(SSL* ssl, const std::string& host) {
  ErrorCode error;
  asio::ip::make_address(host, error);
  if (!error) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  return SSL_set_tlsext_host_name(ssl, host.c_str()) == 1 && SSL_set1_host(ssl, host.c_str()) == 1;
}

Status set_up_tls(asio::ssl::context& tls, const std::string& ca_file) {
  ErrorCode error;
  tls.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 | asio::ssl::context::no_sslv3 |
                      asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1,
                  error);
  tls.set_default_verify_paths(error);
  if (error) return fail(Code::kIo, "TLS: the system's trust roots cannot be read: " + error.message());
  if (!ca_file.empty()) {
    tls.load_verify_file(ca_file, error);
    if (error) {
      return fail(Code::kIo, "TLS: ca_file " + ca_file + " cannot be read as PEM certificates: " + error.message());
    }
  }
  tls.set_verify_mode(asio::ssl::verify_peer, error);
  return {};
}

}  // namespace utp::net
