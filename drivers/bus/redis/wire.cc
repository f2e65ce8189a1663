#include "drivers/bus/redis/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace utp::redis_bus {
namespace {

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

std::string tls_error() {
  char text[256] = "the connection broke";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return text;
}

bool is_address(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

int socket_moved_by(BIO* bio, ssize_t bytes, int retry) {
  BIO_clear_retry_flags(bio);
  if (bytes < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  return static_cast<int>(bytes);
}

// How OpenSSL moves bytes: its own way would wait, and raise SIGPIPE.
const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    BIO_meth_set_write(made, [](BIO* bio, const char* bytes, int size) {
      const int fd = *static_cast<const int*>(BIO_get_data(bio));
      return socket_moved_by(bio, ::send(fd, bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT), BIO_FLAGS_WRITE);
    });
    BIO_meth_set_read(made, [](BIO* bio, char* room, int size) {
      const int fd = *static_cast<const int*>(BIO_get_data(bio));
      return socket_moved_by(bio, ::recv(fd, room, static_cast<std::size_t>(size), MSG_DONTWAIT), BIO_FLAGS_READ);
    });
    BIO_meth_set_ctrl(made, [](BIO*, int command, long, void*) { return static_cast<long>(command == BIO_CTRL_FLUSH); });
    return made;
  }();
  return method;
}

}  // namespace

Status Wire::open(int fd, const RedisBusOptions& options, const std::string& place) {
  close();
  fd_ = fd;
  if (!options.tls) {
    const timeval silence{static_cast<time_t>(options.answer_timeout_ns / 1'000'000'000),
                          static_cast<suseconds_t>(options.answer_timeout_ns % 1'000'000'000 / 1000)};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    return {};
  }
  auto shaken = shake_hands(options, place);
  if (!shaken) close();
  return shaken;
}

void Wire::close() {
  if (tls_ != nullptr) SSL_free(tls_);
  if (fd_ >= 0) ::close(fd_);
  tls_ = nullptr;
  fd_ = -1;
}

Status Wire::shake_hands(const RedisBusOptions& options, const std::string& place) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (!context) return fail(Code::kInternal, place + ": TLS cannot be set up: " + tls_error());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_default_verify_paths(context.get());
  if (!options.ca_file.empty() && SSL_CTX_load_verify_locations(context.get(), options.ca_file.c_str(), nullptr) != 1) {
    return fail(Code::kInvalidArgument, place + ": " + options.ca_file + " gives no certificate: " + tls_error() +
                                            "; name a readable PEM file in UTP_REDIS_CA");
  }
  tls_ = SSL_new(context.get());
  SSL_set_mode(tls_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  BIO* socket = BIO_new(socket_method());
  BIO_set_data(socket, &fd_);
  BIO_set_init(socket, 1);
  SSL_set_bio(tls_, socket, socket);
  if (is_address(options.host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_), options.host.c_str());
  } else {
    SSL_set1_host(tls_, options.host.c_str());
    SSL_set_tlsext_host_name(tls_, options.host.c_str());
  }
  const std::int64_t deadline = steady_ns() + options.connect_timeout_ns;
  for (;;) {
    const int result = SSL_connect(tls_);
    if (result == 1) return {};
    const Moved moved = tls_moved(result);
    if (const long verified = SSL_get_verify_result(tls_); verified != X509_V_OK) {
      return fail(Code::kPermission, place + ": the server's certificate is not trusted: " + X509_verify_cert_error_string(verified) +
                                         "; check the host's name in the URL, and put its authority's certificate into UTP_REDIS_CA");
    }
    const std::int64_t left = deadline - steady_ns();
    if (moved.wait == 0 || left <= 0) {
      return fail(Code::kUnavailable,
                  place + ": no TLS connection: " + (moved.wait == 0 ? error_ : "no answer in time") + "; does this port of the server speak TLS?",
                  true);
    }
    pollfd wait{fd_, moved.wait, 0};
    ::poll(&wait, 1, static_cast<int>(left / 1'000'000 + 1));
  }
}

Wire::Moved Wire::tls_moved(int result) {
  if (result > 0) return {result, 0};
  switch (SSL_get_error(tls_, result)) {
    case SSL_ERROR_WANT_READ: return {-1, POLLIN};
    case SSL_ERROR_WANT_WRITE: return {-1, POLLOUT};
    case SSL_ERROR_ZERO_RETURN: return {0, 0};
    default: error_ = tls_error(); return {-1, 0};
  }
}

Wire::Moved Wire::socket_moved(ssize_t result, short wait) {
  if (result >= 0) return {result, 0};
  if (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK) return {-1, wait};
  error_ = std::strerror(errno);
  return {-1, 0};
}

Wire::Moved Wire::send(std::string_view bytes) {
  if (tls_ == nullptr) return socket_moved(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT), POLLOUT);
  ERR_clear_error();
  return tls_moved(SSL_write(tls_, bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), 1 << 20))));
}

Wire::Moved Wire::receive(std::span<char> room, bool may_block) {
  if (tls_ == nullptr) return socket_moved(::recv(fd_, room.data(), room.size(), may_block ? 0 : MSG_DONTWAIT), POLLIN);
  ERR_clear_error();
  return tls_moved(SSL_read(tls_, room.data(), static_cast<int>(room.size())));
}

}  // namespace utp::redis_bus
