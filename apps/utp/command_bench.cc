#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"

namespace utp::app {

// The benchmarks are programs of the source tree; the launcher ./utp builds and runs them. The installed binary says so.
void add_bench(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "bench", "Benchmarks against their floors and peers (from the source tree)",
                                  "  ./utp bench\n  ./utp bench bus --json\n  ./utp bench --quick");
  command->allow_extras();
  command->callback([&context] {
    context.action = [] {
      print_error("benchmarks are run from the source tree, where the launcher builds them: ./utp bench [REGEX] [--json] "
                  "[--quick] [--save]");
      return static_cast<int>(kUsage);
    };
  });
}

}  // namespace utp::app
