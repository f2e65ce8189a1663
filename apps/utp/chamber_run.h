// A chamber at work in this process: its connectors, its persister, or both, over one bus.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/utp/chamber.h"
#include "apps/utp/counting_store.h"
#include "apps/utp/data_directory.h"
#include "bus/spooled_bus.h"
#include "connector/host.h"
#include "core/clock.h"
#include "persist/persister.h"
#include "schema/registry.h"

namespace utp::app {

struct ChamberRunOptions {
  bool connectors = true;
  bool persister = true;
  std::string only_instance;        // "sim.stocks": of the connectors only this one; "" = all
  std::string record_acknowledged;  // see chamber_bus.h
  bool keep_unread = false;         // see ports.h
};

struct ChamberStatus {
  struct Counts {
    std::uint64_t events = 0, stored = 0;
  };
  std::string state = "starting";  // starting, up, degraded, stopping, stopped, failed
  std::string detail;              // why it is not up
  Timestamp time, started;
  std::int64_t elapsed_ns = 0;
  std::vector<InstanceStatus> instances;
  std::optional<PersisterStats> persister;
  std::map<std::string, Counts> event_types;
  std::vector<TopicStats> topics;  // this chamber's, dead letters included
  std::uint64_t events = 0, stored = 0, duplicates = 0, dead_letters = 0;
  std::uint64_t lag = 0, bus_messages = 0, bus_bytes = 0;
  Timestamp oldest_unread;
  std::optional<SpoolStats> spool;  // of a bus on a server; what waits there is part of the lag
  std::optional<std::int64_t> first_stored_ms;
};
std::string to_json(const ChamberStatus& status, bool topics);  // one object, one line

// The file for dead letters past the cap: of a connector by its source_id, or of the persister.
inline constexpr std::string_view kPersisterOverflow = "persister";
std::string overflow_path(const Chamber& chamber, std::string_view whose);

class ChamberRun {
 public:
  // Opens and checks everything before anything is started. The data directory is locked by the caller where it must be.
  // `started_ns`: monotonic time from which first_stored_ms counts.
  static Result<std::unique_ptr<ChamberRun>> create(Chamber chamber, ChamberRunOptions options, const Clock& clock, std::int64_t started_ns);
  ~ChamberRun();

  void start();
  ChamberStatus status();  // one thread
  // True when no connector has anything more to do (files that came to their end), or the persister ended with an error.
  bool finished() const;

  // Connectors first, with what they hold; then the persister commits what is on the bus by then, unless it makes no progress
  // for `patience_ns`, or `give_up`, asked before and between, says true (kCancelled). The error says what was left where.
  Status stop(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up = {});

  bool has_connectors() const { return !instances_.empty(); }
  const Chamber& chamber() const { return chamber_; }
  const Registry& registry() const { return registry_; }
  Bus& bus() { return *bus_; }
  CountingStore* store() { return store_.get(); }
  Persister* persister() { return persister_.get(); }

 private:
  ChamberRun(Chamber chamber, const Clock& clock, std::int64_t started_ns, Registry registry);
  struct Prepared {
    InstanceOptions options;
    const BuiltinConnector* builtin = nullptr;
    std::string place;  // in the configuration, for errors
  };
  Result<std::vector<Prepared>> prepare_instances(const std::string& only) const;
  Result<Prepared> prepare_instance(const ConnectorConfig& config) const;
  Status add_persister(std::unique_ptr<Store> store);
  Status check_topics() const;
  void forward_spool(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up);

  Chamber chamber_;
  const Clock& clock_;
  std::int64_t started_ns_;
  Timestamp started_;
  Registry registry_;
  std::unique_ptr<Bus> bus_;
  SpooledBus* spool_ = nullptr;  // part of bus_
  std::unique_ptr<CountingStore> store_;
  std::vector<std::unique_ptr<ConnectorInstance>> instances_;
  std::unique_ptr<Persister> persister_;
  std::unique_ptr<PersisterRunner> runner_;
  std::string state_ = "starting";
  std::string failure_;
};

}  // namespace utp::app
