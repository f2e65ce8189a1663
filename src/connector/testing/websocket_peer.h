// WebSocketPeer: a real server on 127.0.0.1 for tests: WebSocket, with or without TLS, and HTTP GET on the same port. A test
// says what it answers, and how it misbehaves.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace utp::testing {

// One connection of a client. Calls from any thread; those after its end do nothing.
class PeerConnection {
 public:
  virtual ~PeerConnection() = default;
  virtual std::uint32_t number() const = 0;  // counted up from 0 over the peer's life
  virtual const std::string& target() const = 0;
  virtual void send(std::string text) = 0;
  virtual void send_raw(std::string bytes) = 0;  // past the protocol: garbage, or half a frame
  virtual void close(std::uint16_t code, std::string reason) = 0;
  virtual void cut() = 0;     // the socket, at once, after what was sent before
  virtual void freeze() = 0;  // reads nothing more and answers nothing, with the socket open
};

struct PeerScript {
  std::function<void(PeerConnection&)> on_open;
  std::function<void(PeerConnection&, std::string_view)> on_message;
  // Status and body of a GET; without it 404.
  std::function<std::pair<unsigned, std::string>(std::string_view target)> on_get;
};

struct PeerOptions {
  std::string certificate_file, key_file;  // PEM; both empty = no TLS
  bool deflate = false;
};

// The script is called on the peer's own thread.
class WebSocketPeer {
 public:
  WebSocketPeer(PeerScript script, PeerOptions options = {});
  ~WebSocketPeer();
  std::uint16_t port() const;
  std::string url(const std::string& path = "/") const;  // ws://127.0.0.1:port/path, or wss
  std::vector<std::shared_ptr<PeerConnection>> connections() const;  // all that ever were
  // Every message that clients sent, with the connection's number.
  std::vector<std::pair<std::uint32_t, std::string>> received() const;
  std::uint64_t pings() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A throwaway certificate authority in `folder`, made with the openssl command: ca.pem, and NAME.pem with NAME.key for the
// given subject alternative names ("IP:127.0.0.1,DNS:localhost"). False when the command is not there.
bool make_certificate(const std::string& folder, const std::string& name, const std::string& alternative_names);

}  // namespace utp::testing
