#include <charconv>

#include "connector/websocket.h"

namespace utp {

Result<Url> Url::parse(std::string_view text) {
  const auto refuse = [&](std::string_view what) {
    // The query may carry a key: it stays out of the message.
    return fail(Code::kInvalidArgument, "endpoint " + std::string(text.substr(0, text.find('?'))) + ": " + std::string(what) +
                                            "; expected ws://, wss://, http:// or https://host[:port][/path]");
  };
  Url url;
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) return refuse("no scheme");
  url.scheme = std::string(text.substr(0, colon));
  if (url.scheme == "wss" || url.scheme == "https") {
    url.tls = true;
  } else if (url.scheme != "ws" && url.scheme != "http") {
    return refuse("unknown scheme " + url.scheme);
  }
  std::string_view rest = text.substr(colon + 3);
  const std::size_t slash = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, slash);
  url.target = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash, rest.find('#') - slash));
  if (url.target.empty() || url.target.front() != '/') url.target.insert(0, "/");
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') return refuse("a space or control character");
  }
  if (authority.find('@') != std::string_view::npos) return refuse("a user name or password belongs into the secrets");

  if (!authority.empty() && authority.front() == '[') {
    const std::size_t end = authority.find(']');
    if (end == std::string_view::npos) return refuse("an address that begins with [ and has no ]");
    url.host = std::string(authority.substr(1, end - 1));
    authority.remove_prefix(end + 1);
  } else {
    url.host = std::string(authority.substr(0, authority.find(':')));
    authority.remove_prefix(url.host.size());
  }
  if (url.host.empty()) return refuse("no host");
  if (authority.empty()) {
    url.port = url.tls ? "443" : "80";
  } else {
    url.port = std::string(authority.substr(1));
    unsigned number = 0;
    const auto [end, error] = std::from_chars(url.port.data(), url.port.data() + url.port.size(), number);
    if (authority.front() != ':' || error != std::errc() || end != url.port.data() + url.port.size() || number == 0 ||
        number > 65535) {
      return refuse("port " + url.port + " is not between 1 and 65535");
    }
  }
  return url;
}

std::string Url::authority() const {
  std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (tls ? "443" : "80")) name += ":" + port;
  return name;
}

std::vector<std::vector<WantedStream>> shard_streams(std::span<const WantedStream> wanted, std::uint32_t per_connection) {
  std::vector<std::vector<WantedStream>> slices;
  if (per_connection == 0) per_connection = UINT32_MAX;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (i % per_connection == 0) slices.emplace_back();
    slices.back().push_back(wanted[i]);
  }
  if (slices.empty()) slices.emplace_back();
  return slices;
}

}  // namespace utp
