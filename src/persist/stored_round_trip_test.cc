// Out of a store, over a bus, by a persister into another store: the same rows.
#include "store/stored_events.h"

#include <map>
#include <set>

#include "model/envelope_text.h"
#include "persist/test_chamber.h"
#include "schema/random_rows.h"

namespace utp::persist_test {
namespace {

// Every row of an event type, as text.
std::vector<std::string> rows(Store& store, const std::string& event_type) {
  std::vector<std::string> out;
  const auto cursor = must(store.query({.event_type = event_type}));
  std::vector<Value> values;
  while (must(cursor->next(values))) {
    std::string& row = out.emplace_back();
    for (std::size_t i = 0; i < values.size(); ++i) {
      row += cursor->columns()[i].name + "=" + std::to_string(static_cast<int>(values[i].kind));
      if (values[i].kind == Kind::kText)
        row.append(values[i].as_text());
      else if (values[i].kind == Kind::kDecimal)
        row += values[i].as_decimal().to_string();
      else
        row += std::to_string(values[i].integer);
      row += ';';
    }
  }
  return out;
}

TEST(StoredRoundTrip, EqualsTheFirstStoreAndAddsNothingTheSecondTime) {
  constexpr std::uint64_t kSeed = 20261123;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  const Folder folder;
  const Registry registry = must(Registry::builtin());
  const SystemClock clock;
  const auto bus = must(open_embedded_bus({.directory = folder / "bus"}));
  const auto first = must(open_sqlite_store({.path = folder / "first.db"}));
  const auto second = must(open_sqlite_store({.path = folder / "second.db"}));

  // What a bus carried into the first store: rounded decimals, nulls said and left out, arrays, news without tickers.
  NormalizerOptions options;
  options.source_id = "sim.us1";
  options.lateness_ns = 10;
  Normalizer normalizer(options);
  const auto publisher = must(bus->publisher({.durability = Durability::kInterval}));
  RandomRows random(kSeed, true);
  std::size_t published = 0;
  std::set<std::string> types;
  for (const auto& plan : registry.all()) {
    if (plan->table().empty()) continue;
    types.insert(plan->event_type());
    const std::uint32_t route = normalizer.add_route(plan);
    for (int i = 0; i < 200; ++i) {
      Row row;
      random.fill(*plan, row);
      EventHeader header;
      header.symbol = i % 2 == 0 ? "" : "BTC-USD";
      header.event_time = {kStartNs + random.random().between(0, 1'000)};
      header.event_time_source = static_cast<EventTimeSource>(i % 3);
      EventBatch batch;
      Violation violation;
      if (!normalizer.normalize(route, header, row, header.event_time + i, batch, violation))
        continue;  // not every random row is valid
      const OutMessage message{normalizer.topic(route), batch.key(batch.entries()[0]), batch.value(batch.entries()[0])};
      must(publisher->publish({&message, 1}));
      ++published;
    }
  }
  const auto persist = [&](Store& store, const std::string& pattern, const std::string& group) {
    PersisterOptions persisting;
    persisting.patterns = {pattern};
    persisting.group = group;
    const auto persister = must(Persister::create(*bus, store, registry, clock, persisting));
    while (must(persister->step()) != Persister::Turn::kIdle) {
    }
    EXPECT_EQ(persister->stats().dead_letters.letters, 0u);
    return persister->stats();
  };
  EXPECT_EQ(persist(*first, "utp.prod.>", "first").stored, published);

  std::size_t respelled = 0;
  for (int round = 0; round < 2; ++round) {
    const auto stored = must(StoredEvents::open(*first, registry, {}));
    std::size_t sent = 0;
    while (const StoredEvent* const event = must(stored->next())) {
      ASSERT_EQ(event->refused, "");
      Envelope envelope = event->envelope;
      envelope.realm = "replay_1";
      envelope.region = "replay";
      std::string bytes;
      append_envelope(envelope, event->payload_checksum, bytes);
      const std::string topic = topic_name("replay_1", "replay", envelope.event_type);
      const OutMessage message{topic, envelope.symbol, bytes};
      must(publisher->publish({&message, 1}));
      respelled += event->payload_checksum ? 1 : 0;
      ++sent;
    }
    EXPECT_EQ(sent, published);
    const PersisterStats stats = persist(*second, "utp.replay_1.>", "second");
    EXPECT_EQ(stats.stored, round == 0 ? published : 0);
    EXPECT_EQ(stats.duplicates, round == 0 ? 0 : published);
  }
  EXPECT_GT(respelled, 0u);
  for (const std::string& type : types) EXPECT_EQ(rows(*second, type), rows(*first, type)) << type;
}

}  // namespace
}  // namespace utp::persist_test
