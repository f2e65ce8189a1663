// A chamber that changes its bus, while it runs or between two starts: what is new goes to the new bus at once, what the store does
// not have yet of the old one is finished beside it. The folder of the chamber remembers the buses that are not finished.
#include <algorithm>
#include <fstream>

#include <fmt/format.h>

#include "apps/utp/chamber_run.h"
#include "apps/utp/ports.h"
#include "core/log.h"

namespace utp::app {
namespace {

std::string buses_file(const Chamber& chamber) { return chamber.data_dir + "/buses"; }  // a URL a line, as written in the chamber file

Result<std::string> resolved(const std::string& written, const std::string& data_dir) {
  UTP_TRY(const std::string url, expand_secrets(written));
  return resolve_bus_url(url, data_dir);
}

}  // namespace

void ChamberRun::remember_buses() {
  if (!remembers_buses_) return;
  std::string lines = chamber_.bus_written + "\n";
  for (const Leaving& leaving : leaving_) lines += leaving.written + "\n";
  // For its owner only: a URL may hold a password.
  if (const Status written = replace_file(buses_file(chamber_), lines, 0600); !written) {
    log::error("the buses in use cannot be noted: should the chamber be moved again, store what is left on them with: utp persister --drain",
               {{"error", written.error().message}});
  }
}

void ChamberRun::take_up_earlier_buses() {
  if (!remembers_buses_) return;
  std::ifstream file(buses_file(chamber_));
  for (std::string written; std::getline(file, written);) {
    if (written.empty() || written == chamber_.bus_written) continue;
    const std::string shown = shown_url(written);
    auto part = [&]() -> Result<std::unique_ptr<ChamberPersister>> {
      UTP_TRY(const std::string url, resolved(written, chamber_.data_dir));
      if (url == chamber_.bus) return std::unique_ptr<ChamberPersister>();
      UTP_TRY(std::shared_ptr<Bus> bus, open_bus(url, clock_, false));
      UTP_TRY(auto store, open_store(chamber_.store, true, chamber_.realm));
      return make_persister(std::move(bus), shown, std::move(store));
    }();
    if (part && !*part) continue;
    // One that is gone from the disk has nothing left.
    if (!part && part.error().code == Code::kNotFound) {
      log::warn("the bus that this chamber used before is gone", {{"bus", shown}, {"error", part.error().message}});
      continue;
    }
    if (part) log::info("what is left on the bus that was used before is stored too", {{"bus", shown}});
    else log::warn("the bus that was used before cannot be opened; what the store does not have of it is tried again at the next start",
                   {{"bus", shown}, {"error", part.error().message}});
    leaving_.push_back({written, part ? *std::move(part) : nullptr});
  }
  remember_buses();
}

void ChamberRun::reload() {
  const Status done = reload_file();
  reload_error_ = done ? "" : done.error().message;
  if (!done) log::error("the chamber goes on as it was", {{"error", done.error().message}});
  ++reloads_;
}

Status ChamberRun::reload_file() {
  UTP_TRY(Chamber next, load_chamber(chamber_.file));
  if (next.bus == chamber_.bus) {
    log::info("the chamber file names the same bus; other changes need a restart", {{"file", chamber_.file}});
    return {};
  }
  return move_to(std::move(next));
}

Status ChamberRun::move_to(Chamber next) {
  // Everything that can fail comes first.
  UTP_TRY(std::shared_ptr<GatedBus> driver, open_driver(next.bus, false));
  UTP_CHECK(mover_->prepare(*driver));
  if (bridged_mover_) UTP_CHECK(bridged_mover_->prepare(*driver));
  std::unique_ptr<ChamberPersister> part;
  if (persister_ || persister_waits_) {
    UTP_TRY(auto store, open_store(chamber_.store, true, chamber_.realm));
    UTP_TRY(part, make_persister(driver, next.bus_shown, std::move(store)));
  }
  const std::string left = chamber_.bus_written;
  const std::string left_shown = chamber_.bus_shown;
  const std::string came = next.bus_written;
  // Noted before the first event goes there: a process that dies now finishes both.
  std::swap(chamber_.bus_written, next.bus_written);
  const bool leaves = persister_ || persister_waits_;  // one that was never there this time may hold what an earlier process left
  if (leaves) leaving_.push_back({left, nullptr});
  remember_buses();
  chamber_.bus = next.bus;
  chamber_.bus_shown = next.bus_shown;
  Status spooled, prepared;
  mover_->move([&](std::shared_ptr<Bus> old) {
    old.reset();  // the spool is opened once at a time; what waits in it goes to the new bus
    std::shared_ptr<Bus> bus = with_spool(driver, spooled);
    // The spool has its own topics, with as many partitions as the bus has: a start with another number would be refused.
    if (spool_) prepared = mover_->prepare(*bus);
    return bus;
  });
  if (bridged_mover_) bridged_mover_->move([&](const std::shared_ptr<Bus>&) { return driver; });
  driver_ = std::move(driver);
  gate_closed_ = false;
  watch_ = std::make_unique<BusWatch>(driver_, chamber_.realm, chamber_.persister.group);
  if (!spooled) log::error("the disk spool cannot be opened: while the bus takes nothing, sources are held back", {{"error", spooled.error().message}});
  if (!prepared) log::error("a topic of the disk spool is not as the chamber file says: move the spool's folder away once it is empty", {{"error", prepared.error().message}});
  if (part) {
    std::swap(persister_, part);
    if (persister_waits_) {
      log::warn("the bus that is left was not there; what the store does not have of it is tried again at the next start", {{"bus", left_shown}});
    }
    persister_waits_ = false;
    if (part) {
      leaving_.back().part = std::move(part);
      (void)leaving_.back().part->retire();
    }
    persister_->runner().start();
  }
  log::info("the chamber moved to another bus", {{"from", left_shown}, {"to", chamber_.bus_shown}});
  return {};
}

void ChamberRun::step() {
  take_up_persister();
  judge_backlog();
  const auto finished = [&](Leaving& leaving) {
    if (!leaving.part || !leaving.part->finished(0)) return false;
    if (auto ended = leaving.part->runner().stop(); !ended) log::warn("an earlier bus", {{"error", ended.error().message}});
    add_counts(*leaving.part, left_);
    log::info("the store has everything of the bus that was used before", {{"bus", leaving.part->source_shown()}});
    return true;
  };
  if (std::erase_if(leaving_, finished) > 0) remember_buses();
}

}  // namespace utp::app
