// One websocket connection and one HTTP request on a single-threaded loop. Only websocket*.cc include this.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <openssl/ssl.h>

#include "connector/websocket.h"

namespace utp::net {

// Called on the loop's thread. on_end comes at most once, and nothing after it.
class SessionEvents {
 public:
  virtual void on_open() = 0;
  virtual void on_sent(std::string_view text) = 0;  // right before the bytes go out
  virtual void on_idle() = 0;                       // everything was sent
  virtual void on_message(std::string_view bytes) = 0;
  virtual void on_bytes() = 0;                      // anything at all, a part of a message or a pong
  virtual void on_end(std::string reason) = 0;

 protected:
  ~SessionEvents() = default;
};

struct SessionOptions {
  Url url;
  bool deflate = false;
  std::uint64_t message_bytes_max = 0;
};

class Session {
 public:
  virtual ~Session() = default;
  virtual void start() = 0;
  virtual void send(std::string text) = 0;  // one at a time: after on_open or on_idle
  virtual void ping() = 0;
  virtual void close() = 0;    // politely; on_end follows
  virtual void abandon() = 0;  // at once; no further calls of SessionEvents
};

std::shared_ptr<Session> make_session(boost::asio::io_context& io, boost::asio::ssl::context& tls, SessionOptions options,
                                      SessionEvents& events);

struct HttpAnswer {
  std::string error;  // "" = an answer came
  unsigned status = 0;
  std::string body;
  std::int64_t retry_after_ns = 0;  // 0 = not said
};

class HttpGet {
 public:
  virtual ~HttpGet() = default;
  virtual void cancel() = 0;  // `done` is not called any more
};
// GET url; `done` is called once on the loop's thread.
std::shared_ptr<HttpGet> http_get(boost::asio::io_context& io, boost::asio::ssl::context& tls, const Url& url, std::int64_t timeout_ns,
                                  std::uint64_t body_bytes_max, std::function<void(HttpAnswer)> done);

// Before the handshake: sends the name (SNI) and demands a certificate for it. False when OpenSSL refuses the name.
bool expect_host(SSL* ssl, const std::string& host);

// TLS client with verification. The error names ca_file.
Status set_up_tls(boost::asio::ssl::context& tls, const std::string& ca_file);

}  // namespace utp::net
