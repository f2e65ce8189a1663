// The asserted formats of the profile and ECMA-262 patterns translated for RE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "schema/node.h"

namespace utp {

// kNone for an unknown name.
Format format_by_name(std::string_view name);
std::string_view to_string(Format format);
bool matches_format(Format format, std::string_view text);

bool is_rfc3339(std::string_view text);     // any year, any number of fraction digits
bool is_absolute_uri(std::string_view text);  // RFC 3986, with a scheme, ASCII only

// The pattern, unanchored, with ECMA-262's meaning (u flag) of `.`, `$`, \d, \w, \s and \b. Refused, with the place in
// the pattern: lookaround, back references, \p, escapes and braces that ECMA-262 knows only outside the u flag,
// repetitions above 1,000, and what grows past RE2's memory limit.
Result<std::shared_ptr<const re2::RE2>> compile_pattern(std::string_view ecma);

}  // namespace utp
