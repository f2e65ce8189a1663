#include "apps/utp/chamber_persister.h"

#include <fmt/format.h>

namespace utp::app {
namespace {

// Reads one bus, publishes on another.
class ReadingBus final : public Bus {
 public:
  ReadingBus(std::shared_ptr<Bus> source, Bus& letters) : source_(std::move(source)), letters_(letters) {}
  Status configure_topic(std::string_view topic, const TopicOptions& options) override { return letters_.configure_topic(topic, options); }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override { return letters_.publisher(options); }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return source_->subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return source_->stats(pattern); }
  Status trim() override { return source_->trim(); }
  Status delete_group(std::string_view group) override { return source_->delete_group(group); }

 private:
  std::shared_ptr<Bus> source_;
  Bus& letters_;
};

}  // namespace

Result<std::unique_ptr<ChamberPersister>> ChamberPersister::create(const Chamber& chamber, std::shared_ptr<Bus> source, std::string source_shown, Bus& letters,
                                                                   std::unique_ptr<Store> store, const Registry& registry, const Clock& clock) {
  std::unique_ptr<ChamberPersister> part(new ChamberPersister());
  part->source_shown_ = std::move(source_shown);
  part->bus_ = std::make_unique<ReadingBus>(std::move(source), letters);
  part->store_ = std::make_unique<CountingStore>(std::move(store), clock);
  PersisterOptions o;
  o.patterns = {fmt::format("utp.{}.>", chamber.realm)};
  o.group = chamber.persister.group;
  o.batch_events_max = chamber.persister.batch_events;
  o.batch_bytes_max = chamber.persister.batch_bytes;
  o.batch_wait_ms = chamber.persister.batch_ns / 1'000'000;
  o.dead_letters.source_id = "persister." + chamber.persister.group;
  o.dead_letters.realm = chamber.realm;
  o.dead_letters.region = chamber.region;
  o.dead_letters.overflow = overflow_file(overflow_path(chamber, kPersisterOverflow), 64u << 20);
  UTP_TRY(part->persister_, Persister::create(*part->bus_, *part->store_, registry, clock, std::move(o)));
  part->runner_ = std::make_unique<PersisterRunner>(*part->persister_);
  return part;
}

bool ChamberPersister::retire() {
  if (mark_) return true;
  auto mark = persister_->mark();
  if (mark) mark_ = *std::move(mark);
  return mark_.has_value();
}

bool ChamberPersister::finished(std::int64_t wait_ns) { return retire() && runner_->drain(*mark_, wait_ns); }

std::string overflow_path(const Chamber& chamber, std::string_view whose) { return fmt::format("{}/{}.overflow.jsonl", chamber.data_dir, whose); }

}  // namespace utp::app
