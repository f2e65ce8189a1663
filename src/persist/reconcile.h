// Compares what a bus holds with what a store has, event by event, and with the store's own aggregates: counts by event type,
// symbol and hour of event time, and where they differ (`utp store reconcile`).
//
// Works beside a running chamber: what its persister has not acknowledged yet is told apart, and hours that are written to
// while they are read are read again.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "core/clock.h"
#include "core/result.h"
#include "schema/registry.h"
#include "store/store.h"

namespace utp {

struct ReconcileOptions {
  std::string realm;                     // whose topics; "" = the store's
  std::string group = "persister";       // what it has acknowledged must be in the store
  std::vector<std::string> event_types;  // empty = all with a table
  std::vector<std::string> symbols;      // empty = all
  // Event time, widened to whole hours. Not given: the hours that the bus has events of.
  std::optional<Timestamp> from, to;
  std::uint64_t events_max = 50'000'000;  // of one event type; each takes 32 bytes of memory
  std::function<void(const std::string& what, std::uint64_t events)> progress;
  std::function<bool()> give_up;
};

// One hour of one symbol. An event counts once, however often it was sent.
struct ReconciledHour {
  std::string symbol;
  Timestamp hour;
  std::uint64_t messages = 0;      // on the bus
  std::uint64_t on_bus = 0;        // events
  std::uint64_t stored = 0;        // events in the store
  std::uint64_t waiting = 0;       // on the bus, not yet acknowledged by the group and not yet stored
  std::uint64_t dead_letters = 0;  // on the bus, not stored, and told to the dead letters
  std::uint64_t missing = 0;       // on the bus and nowhere else
  std::uint64_t only_stored = 0;   // not on the bus (any more)
  std::optional<std::uint64_t> aggregated;  // rows that the aggregate counts; none: there is no aggregate, or rows were removed
  std::uint64_t to_aggregate = 0;           // rows that it should count
  bool to_refresh = false;                  // the store knows that some are to be counted yet: no difference
  bool equal() const { return missing == 0 && (!aggregated || *aggregated == to_aggregate || (to_refresh && *aggregated < to_aggregate)); }
};

struct ReconciledType {
  std::string event_type;
  std::string aggregate;         // that was compared; "" = none
  std::uint64_t unreadable = 0;  // messages that are no events of a schema known here
  std::uint64_t unread = 0;      // messages that the bus counts and did not give: nothing is known of them
  std::vector<ReconciledHour> hours;  // by hour, then symbol
  std::vector<std::string> missing_examples;  // idempotency keys, a few
};

// kFull above events_max, kCancelled, kNotFound for an event type that is not known and for a group that none of the topics has.
Result<std::vector<ReconciledType>> reconcile(Bus& bus, Store& store, const Registry& registry, const Clock& clock, const ReconcileOptions& options);

}  // namespace utp
