// Operator log: structured lines on standard error (or a file). ERROR = data lost or a person is needed, WARN =
// degraded and being handled, INFO = state changes. Nothing per event, never a secret. Thread-safe.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace utp::log {

enum class Level { kDebug, kInfo, kWarn, kError, kOff };

using Fields = std::initializer_list<std::pair<std::string_view, std::string_view>>;

void set_level(Level level);
void set_json(bool json);                       // one JSON object a line instead of text
bool set_file(const std::string& path);         // false when it cannot be opened

void debug(std::string_view message, Fields fields = {});
void info(std::string_view message, Fields fields = {});
void warn(std::string_view message, Fields fields = {});
void error(std::string_view message, Fields fields = {});

}  // namespace utp::log
