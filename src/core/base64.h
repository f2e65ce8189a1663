// Base64 (RFC 4648, with padding), for bytes that travel in JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace utp {

void append_base64(std::string& out, std::string_view bytes);
// Empty when `text` is not exactly what append_base64 writes.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace utp
