#include "core/log.h"

#include <atomic>
#include <memory>

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "core/json_writer.h"

namespace utp::log {
namespace {

// One logger for the process, made on first use; only its sink and level change.
struct State {
  std::shared_ptr<spdlog::logger> logger = make(std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  std::atomic<bool> json{false};

  static std::shared_ptr<spdlog::logger> make(spdlog::sink_ptr sink) {
    auto logger = std::make_shared<spdlog::logger>("utp", std::move(sink));
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%-5l%$ %v", spdlog::pattern_time_type::utc);
    logger->flush_on(spdlog::level::info);
    return logger;
  }
};

State& state() {
  static State instance;
  return instance;
}

void write(spdlog::level::level_enum level, std::string_view message, Fields fields) {
  State& s = state();
  if (!s.logger->should_log(level)) return;
  std::string line;
  if (s.json) {
    JsonWriter json(line);
    json.begin_object().field("message", message);
    for (const auto& [name, value] : fields) json.field(name, value);
    json.end_object();
  } else {
    line = message;
    for (const auto& [name, value] : fields) {
      line += ' ';
      line += name;
      line += '=';
      if (value.find_first_of(" \"=\n\r\t") == std::string_view::npos && !value.empty()) line += value;
      else append_json_string(line, value);
    }
  }
  s.logger->log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void set_level(Level level) {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                                                   spdlog::level::err, spdlog::level::off};
  state().logger->set_level(kLevels[static_cast<int>(level)]);
}

void set_json(bool json) {
  State& s = state();
  s.json = json;
  if (json) {
    s.logger->set_pattern("{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",\"level\":\"%l\",\"event\":%v}",
                          spdlog::pattern_time_type::utc);
  }
}

bool set_file(const std::string& path) {
  try {
    const auto level = state().logger->level();
    state().logger = State::make(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
    state().logger->set_level(level);
    return true;
  } catch (const spdlog::spdlog_ex&) {
    return false;
  }
}

void debug(std::string_view message, Fields fields) { write(spdlog::level::debug, message, fields); }
void info(std::string_view message, Fields fields) { write(spdlog::level::info, message, fields); }
void warn(std::string_view message, Fields fields) { write(spdlog::level::warn, message, fields); }
void error(std::string_view message, Fields fields) { write(spdlog::level::err, message, fields); }

}  // namespace utp::log
