#include "apps/utp/command.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/timestamp.h"

namespace utp::app {

std::string check_time(const std::string& text) {
  if (Timestamp::parse_lenient(text)) return {};
  return fmt::format("\"{}\" is no time; write 2026-11-22, 2026-11-22T14:30:00 or 2026-11-22T14:30:00.5Z (UTC unless an offset is given)", text);
}

std::string check_time_or_duration(const std::string& text) {
  if (Timestamp::parse_lenient(text) || parse_duration(text)) return {};
  return fmt::format("\"{}\" is neither a time (2026-11-22T14:30:00Z) nor a duration back (10m)", text);
}

void add_common_options(CLI::App& command, Context& context) {
  command.add_flag("--json", context.common.json, "Results as JSON, for programs")->group("Common");
  command.add_flag("-q,--quiet", context.common.quiet, "No notes and no progress, errors only")->group("Common");
  command.add_option("--log-level", context.common.log_level, "What the log on standard error tells (default warn)")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}))
      ->group("Common");
  command.add_option("--color", context.common.color, "Colours and redrawing (default auto: on a terminal)")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->group("Common");
}

CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->set_help_flag("-h,--help", "This help")->group("Common");
  add_common_options(*command, context);
  if (!examples.empty()) command->footer("Examples:\n" + examples);
  return command;
}

CLI::App* add_command_group(CLI::App& parent, const std::string& name, const std::string& description,
                            const std::string& examples) {
  CLI::App* group = parent.add_subcommand(name, description);
  group->set_help_flag("-h,--help", "This help")->group("Common");
  group->require_subcommand(1);
  group->footer("Examples:\n" + examples);
  return group;
}

CLI::Validator above_zero(const std::string& example) {
  const auto check = [example](std::string& text) -> std::string {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && number > 0 && std::isfinite(number)) return "";
    return fmt::format("\"{}\" is no number above 0; write one such as {}", text, example);
  };
  return CLI::Validator(check, "POSITIVE");
}

}  // namespace utp::app
