// A chamber at work in this process: its connectors and bridges, its persister, or both, over one bus.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/utp/bus_watch.h"
#include "apps/utp/chamber.h"
#include "apps/utp/chamber_bridge.h"
#include "apps/utp/chamber_bus.h"
#include "apps/utp/chamber_persister.h"
#include "apps/utp/counting_store.h"
#include "apps/utp/data_directory.h"
#include "apps/utp/store_keeper.h"
#include "bus/gated_bus.h"
#include "bus/lazy_bus.h"
#include "bus/moving_bus.h"
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
  bool wait_for_bus = false;        // a server that is away at the start is waited for: events go to the spool until then; for a store, stay on the bus
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
  std::vector<BridgeStatus> bridges;
  std::optional<PersisterStats> persister;
  std::map<std::string, Counts> event_types;
  std::vector<TopicStats> topics;  // this chamber's, dead letters included
  std::uint64_t events = 0, stored = 0, duplicates = 0, dead_letters = 0;
  std::uint64_t lag = 0, bus_messages = 0, bus_bytes = 0;
  Timestamp oldest_unread;
  std::string bus;                  // its URL, for people
  struct Leaving {
    std::string bus;
    std::uint64_t lag = 0;          // part of the lag above
    std::string error;              // why it does not get on; "" when it does
  };
  double backlog = 0;             // of what the bus keeps of the fullest topic, the share that is not stored yet
  std::uint64_t reloads = 0;      // times that the chamber file was read again
  std::string reload_error;       // of the last time; "" when it was taken over
  std::vector<Leaving> leaving;     // buses that were used before, while the store does not have all of them
  std::optional<SpoolStats> spool;  // of a bus on a server; what waits there is part of the lag
  std::optional<std::string> store_care;  // of a store on a server: why it was not looked after the last time; "" = it was
  std::optional<std::int64_t> first_stored_ms;
};
std::string to_json(const ChamberStatus& status, bool topics);  // one object, one line

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

  // The chamber file again: where it names another bus, everything that is published goes there from now on, and what is left on
  // the old one is stored beside it. After an error, which status() tells, the chamber goes on as it was. Other changes need a restart. One thread.
  void reload();
  // To be called some ten times a second: looks at how far the store is behind, and gives up buses that are stored whole.
  void step();

  // Connectors or bridges: what comes to the bus comes through this process.
  bool has_sources() const { return !instances_.empty() || !bridges_.empty(); }
  const Chamber& chamber() const { return chamber_; }
  const Registry& registry() const { return registry_; }
  Bus& bus() { return *bus_; }
  CountingStore* store() { return persister_ ? &persister_->store() : nullptr; }
  Persister* persister() { return persister_ ? &persister_->persister() : nullptr; }

 private:
  ChamberRun(Chamber chamber, const Clock& clock, std::int64_t started_ns, Registry registry);
  struct Prepared {
    InstanceOptions options;
    const BuiltinConnector* builtin = nullptr;
    std::string place;  // in the configuration, for errors
  };
  Result<std::vector<Prepared>> prepare_instances(const std::string& only) const;
  Result<Prepared> prepare_instance(const ConnectorConfig& config) const;
  Result<std::unique_ptr<ChamberPersister>> make_persister(std::shared_ptr<Bus> source, std::string source_shown, std::unique_ptr<Store> store);
  std::shared_ptr<Bus> with_spool(std::shared_ptr<Bus> driver, Status& opened);
  static void add_counts(ChamberPersister& part, ChamberStatus& status);
  void add_persister_status(ChamberStatus& status);
  Result<std::shared_ptr<GatedBus>> open_driver(const std::string& url, bool wait) const;
  void take_up_persister();
  Status stop_parts(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up);
  void judge_backlog();
  Status reload_file();
  Status move_to(Chamber next);
  void take_up_earlier_buses();
  void remember_buses();
  bool drain(ChamberPersister& part, std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up, bool& given_up);
  Status check_topics() const;
  Status make_bridges(const ChamberBusOptions& options);
  void forward_spool(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up);

  Chamber chamber_;
  const Clock& clock_;
  std::int64_t started_ns_;
  Timestamp started_;
  Registry registry_;
  bool keep_unread_ = false, remembers_buses_ = false;
  std::shared_ptr<GatedBus> driver_;
  std::unique_ptr<Bus> bus_;     // the driver, with the spool, the mover and the chamber's topic options over it
  MovingBus* mover_ = nullptr;   // part of bus_
  SpooledBus* spool_ = nullptr;  // part of bus_
  std::vector<std::unique_ptr<ConnectorInstance>> instances_;
  // What bridges publish to: without the spool, since what cannot be published stays on the region's bus.
  std::unique_ptr<Bus> bridged_bus_;
  MovingBus* bridged_mover_ = nullptr;  // part of bridged_bus_; null without bridges
  std::vector<std::unique_ptr<ChamberBridge>> bridges_;
  std::unique_ptr<ChamberPersister> persister_;
  std::unique_ptr<StoreKeeper> keeper_;  // of a store on a server
  // The bus is not there yet, so that neither is the persister.
  bool persister_waits_ = false;
  struct Leaving {
    std::string written;  // as the chamber file had it
    std::unique_ptr<ChamberPersister> part;  // none: the bus cannot be opened now
  };
  std::vector<Leaving> leaving_;
  ChamberStatus left_;  // counts of what was finished
  std::optional<std::int64_t> first_stored_ms_;
  std::unique_ptr<BusWatch> watch_;  // of driver_
  bool pressed_ = false, gate_closed_ = false;
  std::uint64_t reloads_ = 0;
  std::string reload_error_;
  std::string state_ = "starting";
  std::string failure_;
};

}  // namespace utp::app
