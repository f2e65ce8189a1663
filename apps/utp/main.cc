#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "connector/manifest.h"

namespace utp::app {
namespace {

void add_commands(CLI::App& app, Context& context) {
  add_demo(app, context);
  add_up(app, context);
  add_reload(app, context);
  add_replay(app, context);
  add_capture(app, context);
  add_connect(app, context);
  add_persister(app, context);
  add_query(app, context);
  add_store(app, context);
  add_topics(app, context);
  add_tail(app, context);
  add_bridge(app, context);
  add_dlq(app, context);
  add_connector(app, context);
  add_doctor(app, context);
  add_schema(app, context);
  add_bench(app, context);
  add_completion(app, context);
}

// The command that the arguments reached, for "see ... --help".
const CLI::App& reached(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent ? full_name(*parent) + " " + command.get_name() : std::string("utp");
}

int usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const CLI::App& command = reached(app);
  std::string message = error.what();
  const auto subcommands = command.get_subcommands([](const CLI::App*) { return true; });
  if (!subcommands.empty()) {
    std::vector<std::string> names;
    for (const CLI::App* each : subcommands) names.push_back(each->get_name());
    // The word where a subcommand should stand is the first one that is neither an option nor a command reached.
    int depth = 0;
    for (const CLI::App* at = &command; at->get_parent(); at = at->get_parent()) ++depth;
    for (int i = 1; i < argc; ++i) {
      if (argv[i][0] == '-') continue;
      if (depth-- > 0) continue;
      message = fmt::format("\"{}\" is no command of {}", argv[i], full_name(command));
      if (const std::string near = nearest_name(argv[i], names); !near.empty()) message += fmt::format("; did you mean \"{}\"?", near);
      break;
    }
  } else if (dynamic_cast<const CLI::ExtrasError*>(&error)) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back(fmt::format("--{}", name));
    }
    for (const std::string& extra : command.remaining()) {
      message = fmt::format("\"{}\" is not an argument of {}", extra, full_name(command));
      if (const std::string near = nearest_name(extra, names); !near.empty()) message += fmt::format("; did you mean {}?", near);
      break;
    }
  }
  print_error(fmt::format("{}\nsee: {} --help", message, full_name(command)));
  return kUsage;
}

int run(int argc, char** argv) {
  Context context;
  CLI::App app("Market data from any venue as one stream of well-formed events, on the bus and store of your choice.", "utp");
  context.root = &app;
  app.set_version_flag("-V,--version", "utp " UTP_VERSION, "The version");
  app.set_help_flag("-h,--help", "This help");
  app.require_subcommand(0, 1);
  add_common_options(app, context);
  add_commands(app, context);
  app.footer("Start here:  utp demo              a chamber with simulated markets, live view\n"
             "             utp up chamber.yaml   your own\n"
             "             utp COMMAND --help    each command with examples\n"
             "Exit codes:  0 done, 1 failed, 2 usage, 3 configuration, 4 unavailable now, 130 interrupted");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.help());
    return kOk;
  } catch (const CLI::CallForVersion&) {
    fmt::print("utp " UTP_VERSION "\n");
    return kOk;
  } catch (const CLI::ParseError& error) {
    configure_console(context.common);
    return usage_error(app, error, argc, argv);
  }
  configure_console(context.common);
  if (!context.action) {
    fmt::print("{}", app.help());
    return argc <= 1 ? kOk : kUsage;
  }
  StopSignal stop;
  context.stop = &stop;
  return context.action();
}

}  // namespace
}  // namespace utp::app

int main(int argc, char** argv) {
  // A standard file that is closed would be the next one opened: messages would go into a database.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) == -1 && ::open("/dev/null", O_RDWR) == -1) return utp::app::kFailure;
  }
  try {
    return utp::app::run(argc, argv);
  } catch (const std::bad_alloc&) {
    utp::app::print_error("out of memory; what was acknowledged is safe: start it again with more memory or smaller batches");
  } catch (const std::exception& error) {
    utp::app::print_error(fmt::format("unexpected: {}; what was acknowledged is safe. This is a bug: please report it", error.what()));
  }
  return utp::app::kFailure;
}
