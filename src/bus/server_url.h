// What URLs of buses on servers have in common.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"

namespace utp {

// %41 becomes A. kInvalidArgument for a % without two hexadecimal digits; the text, which may be a secret, is not shown.
[[nodiscard]] Result<std::string> decode_percent(std::string_view text);

struct HostPort {
  std::string host;  // with the brackets of [::1]
  int port = 0;
};
// host, host:port, [::1] or [::1]:port. `form`: what an error tells to write.
[[nodiscard]] Result<HostPort> read_host_port(std::string_view text, int default_port, std::string_view form);

}  // namespace utp
