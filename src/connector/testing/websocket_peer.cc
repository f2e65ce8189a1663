#include "connector/testing/websocket_peer.h"

#include <array>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

namespace utp::testing {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using Tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

struct Shared {
  PeerScript script;
  PeerOptions options;
  mutable std::mutex mutex;
  std::vector<std::shared_ptr<PeerConnection>> connections;
  std::vector<std::pair<std::uint32_t, std::string>> received;
  std::uint64_t pings = 0;
};

template <class Stream>
class Connection final : public PeerConnection, public std::enable_shared_from_this<Connection<Stream>> {
  static constexpr bool kTls = !std::is_same_v<Stream, beast::tcp_stream>;

 public:
  template <class... Arguments>
  Connection(Shared& shared, std::uint32_t number, Arguments&&... arguments)
      : shared_(shared), number_(number), stream_(std::forward<Arguments>(arguments)...) {}

  void start() {
    if constexpr (kTls) {
      stream_.next_layer().async_handshake(asio::ssl::stream_base::server, [self = this->shared_from_this()](ErrorCode error) {
        if (error) return self->shut();
        self->read_request();
      });
    } else {
      read_request();
    }
  }

  std::uint32_t number() const override { return number_; }
  const std::string& target() const override { return target_; }
  void send(std::string text) override { enqueue({std::move(text), false}); }
  void send_raw(std::string bytes) override { enqueue({std::move(bytes), true}); }
  void close(std::uint16_t code, std::string reason) override {
    run([self = this->shared_from_this(), code, reason = std::move(reason)] {
      self->stream_.async_close(websocket::close_reason(static_cast<websocket::close_code>(code), reason), [self](ErrorCode) {});
    });
  }
  void cut() override {
    run([self = this->shared_from_this()] {
      self->cut_when_idle_ = true;
      self->write();
    });
  }
  void freeze() override {
    run([self = this->shared_from_this()] { self->frozen_ = true; });
  }

 private:
  struct Outgoing {
    std::string bytes;
    bool raw;
  };

  void run(std::function<void()> work) { asio::post(stream_.get_executor(), std::move(work)); }
  void enqueue(Outgoing outgoing) {
    run([self = this->shared_from_this(), outgoing = std::move(outgoing)]() mutable {
      self->outbox_.push_back(std::move(outgoing));
      self->write();
    });
  }

  void shut() {
    ErrorCode ignored;
    beast::get_lowest_layer(stream_).socket().close(ignored);
  }

  void read_request() {
    http::async_read(stream_.next_layer(), buffer_, request_, [self = this->shared_from_this()](ErrorCode error, std::size_t) {
      if (error) return self->shut();
      self->target_ = std::string(self->request_.target());
      if (websocket::is_upgrade(self->request_)) return self->accept();
      self->answer();
    });
  }

  void answer() {
    auto [status, body] = shared_.script.on_get ? shared_.script.on_get(target_) : std::pair<unsigned, std::string>(404, "");
    response_.result(status);
    response_.set(http::field::connection, "close");
    response_.body() = std::move(body);
    response_.prepare_payload();
    http::async_write(stream_.next_layer(), response_, [self = this->shared_from_this()](ErrorCode, std::size_t) {
      ErrorCode ignored;
      beast::get_lowest_layer(self->stream_).socket().shutdown(Tcp::socket::shutdown_send, ignored);
    });
  }

  void accept() {
    if (shared_.options.deflate) {
      websocket::permessage_deflate deflate;
      deflate.server_enable = true;
      stream_.set_option(deflate);
    }
    stream_.control_callback([this](websocket::frame_type kind, beast::string_view) {
      if (kind != websocket::frame_type::ping) return;
      std::lock_guard lock(shared_.mutex);
      ++shared_.pings;
    });
    stream_.async_accept(request_, [self = this->shared_from_this()](ErrorCode error) {
      if (error) return;
      self->open_ = true;
      if (self->shared_.script.on_open) self->shared_.script.on_open(*self);
      self->read();
    });
  }

  void read() {
    if (frozen_) return;
    buffer_.clear();
    stream_.async_read(buffer_, [self = this->shared_from_this()](ErrorCode error, std::size_t) {
      if (error) return;
      const std::string text = beast::buffers_to_string(self->buffer_.data());
      {
        std::lock_guard lock(self->shared_.mutex);
        self->shared_.received.emplace_back(self->number_, text);
      }
      if (self->shared_.script.on_message) self->shared_.script.on_message(*self, text);
      // freeze() posts; let it take effect before the next read begins.
      self->run([self] { self->read(); });
    });
  }

  void write() {
    if (writing_ || !open_) return;
    if (outbox_.empty()) {
      if (cut_when_idle_) shut();
      return;
    }
    writing_ = true;
    const auto written = [self = this->shared_from_this()](ErrorCode error, std::size_t) {
      self->writing_ = false;
      if (error) return;
      self->outbox_.pop_front();
      self->write();
    };
    if (outbox_.front().raw) {
      asio::async_write(stream_.next_layer(), asio::buffer(outbox_.front().bytes), written);
    } else {
      stream_.text(true);
      stream_.async_write(asio::buffer(outbox_.front().bytes), written);
    }
  }

  Shared& shared_;
  const std::uint32_t number_;
  websocket::stream<Stream> stream_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
  std::string target_;
  std::deque<Outgoing> outbox_;
  bool open_ = false, writing_ = false, frozen_ = false, cut_when_idle_ = false;
};

}  // namespace

struct WebSocketPeer::Impl {
  Shared shared;
  asio::io_context io{1};
  asio::ssl::context tls{asio::ssl::context::tls_server};
  Tcp::acceptor acceptor{io, Tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::thread thread;

  bool secure() const { return !shared.options.certificate_file.empty(); }

  void accept() {
    acceptor.async_accept([this](ErrorCode error, Tcp::socket socket) {
      if (error) return;
      std::uint32_t number = 0;
      {
        std::lock_guard lock(shared.mutex);
        number = static_cast<std::uint32_t>(shared.connections.size());
      }
      const auto keep = [&](const auto& connection) {
        {
          std::lock_guard lock(shared.mutex);
          shared.connections.push_back(connection);
        }
        connection->start();
      };
      if (secure()) {
        keep(std::make_shared<Connection<beast::ssl_stream<beast::tcp_stream>>>(shared, number, std::move(socket), tls));
      } else {
        keep(std::make_shared<Connection<beast::tcp_stream>>(shared, number, std::move(socket)));
      }
      accept();
    });
  }
};

WebSocketPeer::WebSocketPeer(PeerScript script, PeerOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->shared.script = std::move(script);
  impl_->shared.options = std::move(options);
  if (impl_->secure()) {
    impl_->tls.use_certificate_chain_file(impl_->shared.options.certificate_file);
    impl_->tls.use_private_key_file(impl_->shared.options.key_file, asio::ssl::context::pem);
  }
  impl_->accept();
  impl_->thread = std::thread([io = &impl_->io] { io->run(); });
}

WebSocketPeer::~WebSocketPeer() {
  impl_->io.stop();
  impl_->thread.join();
  impl_->shared.connections.clear();  // their sockets must not outlive the loop
}

std::uint16_t WebSocketPeer::port() const { return impl_->acceptor.local_endpoint().port(); }

std::string WebSocketPeer::url(const std::string& path) const {
  return std::string(impl_->secure() ? "wss" : "ws") + "://127.0.0.1:" + std::to_string(port()) + path;
}

std::vector<std::shared_ptr<PeerConnection>> WebSocketPeer::connections() const {
  std::lock_guard lock(impl_->shared.mutex);
  return impl_->shared.connections;
}

std::vector<std::pair<std::uint32_t, std::string>> WebSocketPeer::received() const {
  std::lock_guard lock(impl_->shared.mutex);
  return impl_->shared.received;
}

std::uint64_t WebSocketPeer::pings() const {
  std::lock_guard lock(impl_->shared.mutex);
  return impl_->shared.pings;
}

bool make_certificate(const std::string& folder, const std::string& name, const std::string& alternative_names) {
  const auto run = [](const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; };
  const std::string in = folder + "/";
  if (!std::filesystem::exists(in + "ca.pem") &&
      !run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca -keyout " + in +
           "ca.key -out " + in + "ca.pem")) {
    return false;
  }
  return run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name + " -keyout " + in + name +
             ".key -out " + in + name + ".csr") &&
         static_cast<bool>(std::ofstream(in + name + ".ext") << "subjectAltName=" << alternative_names << std::endl) &&
         run("openssl x509 -req -in " + in + name + ".csr -CA " + in + "ca.pem -CAkey " + in + "ca.key -CAcreateserial -days 2 -extfile " +
             in + name + ".ext -out " + in + name + ".pem");
}

}  // namespace utp::testing
