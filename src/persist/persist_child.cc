// A persister in a process of its own, for the test that kills it: BUS_DIRECTORY STORE_FILE forever|drain.
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "drivers/bus/embedded/embedded_bus.h"
#include "drivers/store/sqlite/sqlite_store.h"
#include "persist/persister.h"

namespace utp {
namespace {

Status run(const char* bus_directory, const char* store_path, bool drain) {
  SystemClock clock;
  UTP_TRY(const Registry registry, Registry::builtin());
  UTP_TRY(const auto bus, open_embedded_bus({.directory = bus_directory}));
  UTP_TRY(const auto store, open_sqlite_store({.path = store_path}));
  PersisterOptions options;
  options.patterns = {"utp.prod.local.>"};
  options.batch_events_max = 200;
  options.batch_wait_ms = 5;
  options.lease_ns = 3'600'000'000'000;  // the one before was killed: nobody waits for its lease
  options.dead_letters.flood_per_minute = 1'000'000;
  UTP_TRY(const auto persister, Persister::create(*bus, *store, registry, clock, options));
  PersisterRunner runner(*persister);
  runner.start();
  if (!drain) {
    while (runner.running()) ::usleep(10'000);
    return runner.stop();
  }
  if (runner.drain(60'000'000'000)) return runner.stop();
  return fail(Code::kTimeout, "messages are left after a minute");
}

}  // namespace
}  // namespace utp

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const utp::Status status = utp::run(arguments[1], arguments[2], std::string_view(arguments[3]) == "drain");
  if (!status) std::fprintf(stderr, "persist_child: %s\n", status.error().message.c_str());
  return status ? 0 : 1;
}
