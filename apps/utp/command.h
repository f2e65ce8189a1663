// What a subcommand is made of: command_<name>.cc adds its options to the CLI11 tree and leaves an action, which main runs
// after parsing. An action returns an exit code (exit_code.h).
#pragma once

#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include "apps/utp/console.h"
#include "apps/utp/stop_signal.h"

namespace utp::app {

struct Context {
  Common common;
  StopSignal* stop = nullptr;  // set before an action runs
  std::function<int()> action;
  CLI::App* root = nullptr;
};

// A subcommand with the common options (--json, --quiet, --log-level, --color) and examples below its help.
CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& description,
                      const std::string& examples);
void add_common_options(CLI::App& command, Context& context);
// A subcommand that only holds others: its help when called alone.
CLI::App* add_command_group(CLI::App& parent, const std::string& name, const std::string& description,
                            const std::string& examples);

// For CLI::Option::check: "" or what is wrong, so that the command line is refused (kUsage) before anything is opened.
std::string check_time(const std::string& text);              // 2026-11-22, 2026-11-22T14:30:00.5Z
std::string check_time_or_duration(const std::string& text);  // also 10m, back from now
// For an option that takes a number above 0.
CLI::Validator above_zero(const std::string& example);

void add_bench(CLI::App& app, Context& context);
void add_bridge(CLI::App& app, Context& context);
void add_capture(CLI::App& app, Context& context);
void add_completion(CLI::App& app, Context& context);
void add_connect(CLI::App& app, Context& context);
void add_connector(CLI::App& app, Context& context);
void add_demo(CLI::App& app, Context& context);
void add_dlq(CLI::App& app, Context& context);
void add_doctor(CLI::App& app, Context& context);
void add_persister(CLI::App& app, Context& context);
void add_query(CLI::App& app, Context& context);
void add_reload(CLI::App& app, Context& context);
void add_replay(CLI::App& app, Context& context);
void add_schema(CLI::App& app, Context& context);
void add_store(CLI::App& app, Context& context);
void add_tail(CLI::App& app, Context& context);
void add_topics(CLI::App& app, Context& context);
void add_up(CLI::App& app, Context& context);

}  // namespace utp::app
