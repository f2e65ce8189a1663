// What the tests of this folder share: a bus and a store in a fresh folder, a normalizer that publishes, and wrappers that
// make either fail on demand.
#pragma once

#include <stdlib.h>

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "drivers/bus/embedded/embedded_bus.h"
#include "drivers/store/sqlite/sqlite_store.h"
#include "persist/persister.h"

namespace utp::persist_test {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
inline void must(Status status) {
  if (!status) throw std::runtime_error(status.error().message);
}

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "utp_persist_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline constexpr std::int64_t kStartNs = 1'700'000'000'000'000'000;  // times of events count from here

// Publishes quotes and trades of one source.
class Source {
 public:
  Source(Bus& bus, const Registry& registry, std::string realm = "prod")
      : normalizer_(NormalizerOptions{.source_id = "venue.us1", .realm = std::move(realm), .region = "local"}),
        publisher_(must(bus.publisher({.durability = Durability::kInterval}))) {
    quotes_ = normalizer_.add_route(registry.by_event_type("quotes/v2"));
    trades_ = normalizer_.add_route(registry.by_event_type("trades/v2"));
  }

  void quote(std::string_view symbol, std::int64_t time_ns) {
    row_.reset(normalizer_.plan(quotes_));
    row_.set(*row_.plan().column("bid"), Decimal(time_ns % 100'000 + 1, -2));
    row_.copy(*row_.plan().column("venue"), "venue");
    add(quotes_, {.symbol = symbol, .event_time = {kStartNs + time_ns}});
  }
  void trade(std::string_view symbol, std::int64_t time_ns, std::uint64_t id) {
    row_.reset(normalizer_.plan(trades_));
    row_.set(*row_.plan().column("price"), Decimal(6425012, -2));
    row_.set(*row_.plan().column("size"), Decimal(5, -1));
    row_.copy(*row_.plan().column("trade_id"), std::to_string(id));
    add(trades_, {.symbol = symbol, .event_time = {kStartNs + time_ns}, .sequence = id});
  }

  // The bytes of what was added since the last call, without publishing.
  std::vector<std::string> take() {
    std::vector<std::string> out;
    for (const EventBatch::Entry& entry : batch_.entries()) out.emplace_back(batch_.value(entry));
    batch_.clear();
    return out;
  }
  Status try_publish() {
    std::vector<OutMessage> messages;
    for (const EventBatch::Entry& entry : batch_.entries()) {
      messages.push_back({normalizer_.topic(entry.route), batch_.key(entry), batch_.value(entry)});
    }
    Status status = publisher_->publish(messages);
    if (status) batch_.clear();
    return status;
  }
  void publish() { must(try_publish()); }
  void publish_bytes(std::string_view topic, std::string_view bytes) {
    const OutMessage message{topic, "X", bytes};
    must(publisher_->publish({&message, 1}));
  }

 private:
  void add(std::uint32_t route, const EventHeader& header) {
    Violation violation;
    if (!normalizer_.normalize(route, header, row_, {header.event_time.ns + 1}, batch_, violation)) {
      throw std::runtime_error(violation.path + ": " + violation.message);
    }
  }

  Normalizer normalizer_;
  std::unique_ptr<Publisher> publisher_;
  std::uint32_t quotes_ = 0, trades_ = 0;
  Row row_;
  EventBatch batch_;
};

// Fails as told, else passes on.
class FaultyStore final : public Store {
 public:
  explicit FaultyStore(std::unique_ptr<Store> inner) : inner_(std::move(inner)) {}
  void replace(std::unique_ptr<Store> inner) { inner_ = std::move(inner); }
  std::deque<Error> write_errors;  // one a call
  std::deque<Error> lost_answers;  // the write happens, its answer does not
  int writes = 0;

  Status prepare(const std::shared_ptr<const Plan>& plan) override { return inner_->prepare(plan); }
  Result<StoreStatus> status() override { return inner_->status(); }
  Status set_policy(const std::string& event_type, const TablePolicy& policy) override { return inner_->set_policy(event_type, policy); }
  Result<std::vector<Finding>> verify() override { return inner_->verify(); }
  bool make_ready(std::span<const Event* const> events, std::unique_ptr<ReadyEvents>& ready) override { return inner_->make_ready(events, ready); }
  Result<WriteResult> write_ready(std::span<const Event* const> events, ReadyEvents& ready) override {
    return faulty([&] { return inner_->write_ready(events, ready); });
  }
  Result<WriteResult> write(std::span<const Event* const> events) override {
    return faulty([&] { return inner_->write(events); });
  }
  template <class F>
  Result<WriteResult> faulty(F write) {
    ++writes;
    if (!write_errors.empty()) {
      Error error = std::move(write_errors.front());
      write_errors.pop_front();
      return fail(std::move(error));
    }
    auto result = write();
    if (!lost_answers.empty()) {
      Error error = std::move(lost_answers.front());
      lost_answers.pop_front();
      return fail(std::move(error));
    }
    return result;
  }
  Result<std::unique_ptr<Cursor>> query(const Query& query) override { return inner_->query(query); }
  Result<std::vector<TableStats>> stats() override { return inner_->stats(); }
  Result<StoreContents> contents() override { return inner_->contents(); }
  Result<std::vector<std::string>> sources(const std::string& event_type) override { return inner_->sources(event_type); }
  Result<std::unique_ptr<Replacement>> begin_replace(const ReplaceRange& range) override { return inner_->begin_replace(range); }

 private:
  std::unique_ptr<Store> inner_;
};

struct BusFaults {
  std::deque<Error> publish_errors;
  std::deque<Error> acknowledge_errors;
  std::deque<Error> poll_errors;
};

inline Status next_fault(std::deque<Error>& faults) {
  if (faults.empty()) return {};
  Error error = std::move(faults.front());
  faults.pop_front();
  return fail(std::move(error));
}

class FaultyPublisher final : public Publisher {
 public:
  FaultyPublisher(std::unique_ptr<Publisher> inner, BusFaults& faults) : inner_(std::move(inner)), faults_(faults) {}
  Status publish(std::span<const OutMessage> messages) override {
    UTP_CHECK(next_fault(faults_.publish_errors));
    return inner_->publish(messages);
  }
  Status sync() override { return inner_->sync(); }

 private:
  std::unique_ptr<Publisher> inner_;
  BusFaults& faults_;
};

class FaultySubscription final : public Subscription {
 public:
  FaultySubscription(std::unique_ptr<Subscription> inner, BusFaults& faults) : inner_(std::move(inner)), faults_(faults) {}
  Result<std::span<const InMessage>> poll(std::size_t messages_max, std::size_t bytes_max, std::int64_t timeout_ns) override {
    UTP_CHECK(next_fault(faults_.poll_errors));
    return inner_->poll(messages_max, bytes_max, timeout_ns);
  }
  Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) override {
    UTP_CHECK(next_fault(faults_.acknowledge_errors));
    return inner_->acknowledge(topic, partition, position);
  }
  Status rewind() override { return inner_->rewind(); }
  std::vector<LostRange> take_lost() override { return inner_->take_lost(); }
  void interrupt() override { inner_->interrupt(); }

 private:
  std::unique_ptr<Subscription> inner_;
  BusFaults& faults_;
};

class FaultyBus final : public Bus {
 public:
  explicit FaultyBus(std::unique_ptr<Bus> inner) : inner_(std::move(inner)) {}
  BusFaults faults;

  Status configure_topic(std::string_view topic, const TopicOptions& options) override { return inner_->configure_topic(topic, options); }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    UTP_TRY(auto inner, inner_->publisher(options));
    return std::unique_ptr<Publisher>(new FaultyPublisher(std::move(inner), faults));
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    UTP_TRY(auto inner, inner_->subscribe(options));
    return std::unique_ptr<Subscription>(new FaultySubscription(std::move(inner), faults));
  }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return inner_->stats(pattern); }
  Status trim() override { return inner_->trim(); }
  Status delete_group(std::string_view group) override { return inner_->delete_group(group); }
  Bus& inner() { return *inner_; }

 private:
  std::unique_ptr<Bus> inner_;
};

// Everything of one test.
class Chamber {
 public:
  Folder folder;
  ManualClock clock{Timestamp::from_seconds(1'700'000'000)};
  Registry registry = must(Registry::builtin());
  FaultyBus bus{must(open_embedded_bus({.directory = folder / "bus"}))};
  FaultyStore store{must(open_sqlite_store({.path = folder / "store.db", .busy_timeout_ms = 1}))};

  PersisterOptions options() const {
    PersisterOptions options;
    options.patterns = {"utp.prod.local.>"};
    options.idle_wait_ms = 0;
    options.batch_wait_ms = 0;
    options.lag_refresh_ms = 0;
    return options;
  }
  // For a runner, which has threads of its own to wait in.
  PersisterOptions runner_options() const {
    PersisterOptions wanted = options();
    wanted.idle_wait_ms = 250;
    return wanted;
  }
  std::unique_ptr<Persister> persister() { return persister(options()); }
  std::unique_ptr<Persister> persister(PersisterOptions options) {
    return must(Persister::create(bus, store, registry, clock, std::move(options)));
  }
  // Steps until nothing is left, letting time pass where it waits.
  void drain(Persister& persister, int turns_max = 1000) {
    for (int turn = 0; turn < turns_max; ++turn) {
      switch (must(persister.step())) {
        case Persister::Turn::kIdle: return;
        case Persister::Turn::kDone: break;
        case Persister::Turn::kWaiting: clock.advance(1'000'000'000); break;
      }
    }
    FAIL() << "still not idle after " << turns_max << " turns: " << persister.stats().last_error;
  }
  std::vector<std::uint64_t> sequences(const std::string& event_type) {
    std::vector<std::uint64_t> out;
    auto cursor = must(store.query({.event_type = event_type}));
    std::size_t column = 0;
    while (cursor->columns()[column].name != "sequence") ++column;
    std::vector<Value> values;
    while (must(cursor->next(values))) out.push_back(static_cast<std::uint64_t>(values[column].as_integer()));
    return out;
  }
  std::uint64_t rows(const std::string& table) {
    for (const TableStats& stats : must(store.stats())) {
      if (stats.table == table) return stats.rows;
    }
    return 0;
  }
  std::uint64_t lag(const std::string& group = "persister") {
    std::uint64_t lag = 0;
    for (const TopicStats& topic : must(bus.stats("utp.prod.local.>"))) {
      for (const GroupStats& stats : topic.groups) lag += stats.group == group ? stats.lag : 0;
    }
    return lag;
  }
};

}  // namespace utp::persist_test
