// A persister of a chamber: it reads one bus and writes the store through a connection of its own. While a chamber moves to
// another bus it has two: the new one, and the one that finishes what is left on the old bus.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "apps/utp/chamber.h"
#include "apps/utp/counting_store.h"
#include "bus/bus.h"
#include "core/clock.h"
#include "persist/persister.h"
#include "schema/registry.h"

namespace utp::app {

class ChamberPersister {
 public:
  // Dead letters go to `letters`, which outlives it; so do the registry and the clock.
  static Result<std::unique_ptr<ChamberPersister>> create(const Chamber& chamber, std::shared_ptr<Bus> source, std::string source_shown, Bus& letters,
                                                          std::unique_ptr<Store> store, const Registry& registry, const Clock& clock);

  const std::string& source_shown() const { return source_shown_; }
  CountingStore& store() { return *store_; }
  Persister& persister() { return *persister_; }
  PersisterRunner& runner() { return *runner_; }

  // Nothing more comes to its bus from this process: it is finished once what is there now is stored. False while the bus does
  // not say what it has.
  bool retire();
  bool finished(std::int64_t wait_ns);  // of one that is retired
  std::uint64_t waiting() const { return persister_->stats().lag; }

 private:
  ChamberPersister() = default;

  std::string source_shown_;
  std::unique_ptr<Bus> bus_;
  std::unique_ptr<CountingStore> store_;
  std::unique_ptr<Persister> persister_;
  std::unique_ptr<PersisterRunner> runner_;
  std::optional<Persister::Mark> mark_;
};

// The file for dead letters past the cap: of a connector by its source_id, or of the persister.
inline constexpr std::string_view kPersisterOverflow = "persister";
std::string overflow_path(const Chamber& chamber, std::string_view whose);

}  // namespace utp::app
