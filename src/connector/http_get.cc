#include <charconv>
#include <chrono>
#include <optional>
#include <type_traits>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "connector/websocket_session.h"

namespace utp::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;
using PlainStream = beast::tcp_stream;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

template <class Stream>
class Get final : public HttpGet, public std::enable_shared_from_this<Get<Stream>> {
 public:
  Get(asio::io_context& io, asio::ssl::context& tls, Url url, std::uint64_t body_bytes_max,
      std::function<void(HttpAnswer)> done)
      : url_(std::move(url)), done_(std::move(done)), resolver_(io), stream_(make(io, tls)) {
    parser_.body_limit(body_bytes_max);
  }

  void start(std::int64_t timeout_ns) {
    request_.method(http::verb::get);
    request_.version(11);
    request_.target(url_.target);
    request_.set(http::field::host, url_.authority());
    request_.set(http::field::user_agent, "utp");
    request_.set(http::field::accept, "application/json");
    request_.set(http::field::connection, "close");
    beast::get_lowest_layer(stream_).expires_after(std::chrono::nanoseconds(timeout_ns));
    resolver_.async_resolve(url_.host, url_.port,
                            [self = this->shared_from_this()](ErrorCode error, Tcp::resolver::results_type results) {
                              if (error) return self->end("name " + self->url_.host + ": " + error.message());
                              if (self->done_) self->connect(results);
                            });
  }

  void cancel() override {
    done_ = nullptr;
    resolver_.cancel();
    ErrorCode ignored;
    beast::get_lowest_layer(stream_).socket().close(ignored);
    beast::get_lowest_layer(stream_).cancel();
  }

 private:
  Stream make(asio::io_context& io, asio::ssl::context& tls) {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      return Stream(io, tls);
    } else {
      (void)tls;
      return Stream(io);
    }
  }

  void connect(const Tcp::resolver::results_type& results) {
    beast::get_lowest_layer(stream_).async_connect(
        results, [self = this->shared_from_this()](ErrorCode error, const Tcp::endpoint&) {
          if (error) return self->end("connect: " + error.message());
          if (self->done_) self->secure();
        });
  }

  void secure() {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      if (!expect_host(stream_.native_handle(), url_.host)) return end("TLS: the host name " + url_.host + " cannot be used");
      stream_.async_handshake(asio::ssl::stream_base::client, [self = this->shared_from_this()](ErrorCode failed) {
        if (failed) return self->end("TLS: " + failed.message());
        self->write();
      });
    } else {
      write();
    }
  }

  void write() {
    http::async_write(stream_, request_, [self = this->shared_from_this()](ErrorCode error, std::size_t) {
      if (error) return self->end("write: " + error.message());
      http::async_read(self->stream_, self->buffer_, self->parser_, [self](ErrorCode failed, std::size_t) {
        if (failed) return self->end("read: " + failed.message());
        self->answered();
      });
    });
  }

  void answered() {
    HttpAnswer answer;
    answer.status = parser_.get().result_int();
    if (const auto found = parser_.get().find(http::field::retry_after); found != parser_.get().end()) {
      std::int64_t seconds = 0;
      const auto text = found->value();
      std::from_chars(text.data(), text.data() + text.size(), seconds);
      answer.retry_after_ns = std::min<std::int64_t>(std::max<std::int64_t>(seconds, 0), 3600) * 1'000'000'000;
    }
    answer.body = std::move(parser_.get().body());
    finish(std::move(answer));
  }

  void end(std::string reason) {
    HttpAnswer answer;
    answer.error = std::move(reason);
    finish(std::move(answer));
  }

  void finish(HttpAnswer answer) {
    ErrorCode ignored;
    beast::get_lowest_layer(stream_).socket().close(ignored);
    if (const auto done = std::exchange(done_, nullptr)) done(std::move(answer));
  }

  Url url_;
  std::function<void(HttpAnswer)> done_;
  Tcp::resolver resolver_;
  Stream stream_;
  http::request<http::empty_body> request_;
  http::response_parser<http::string_body> parser_;
  beast::flat_buffer buffer_;
};

}  // namespace

std::shared_ptr<HttpGet> http_get(asio::io_context& io, asio::ssl::context& tls, const Url& url, std::int64_t timeout_ns,
                                  std::uint64_t body_bytes_max, std::function<void(HttpAnswer)> done) {
  const auto begin = [&]<class Stream>(std::type_identity<Stream>) -> std::shared_ptr<HttpGet> {
    auto get = std::make_shared<Get<Stream>>(io, tls, url, body_bytes_max, std::move(done));
    get->start(timeout_ns);
    return get;
  };
  return url.tls ? begin(std::type_identity<TlsStream>()) : begin(std::type_identity<PlainStream>());
}

}  // namespace utp::net
