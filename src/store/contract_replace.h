// More of the contract of Store: what it says of its contents, its rows as events again, and a source's range replaced. Included
// by a driver's contract test behind contract_suite.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <set>

#include "schema/random_rows.h"
#include "schema/registry.h"
#include "store/contract_suite.h"
#include "store/stored_events.h"

namespace utp::store_test {

inline ReplaceRange range_of(std::vector<std::string> types, std::int64_t from, std::int64_t to,
                             std::string source = "venue.us1") {
  return {std::move(types), std::move(source), {from}, {to}};
}

TEST_P(StoreContract, TellsItsContentsAndSources) {
  const auto empty = store_->contents();
  ASSERT_TRUE(empty) << empty.error().message;
  EXPECT_EQ(empty->realm, "");
  EXPECT_TRUE(empty->event_types.empty());
  const auto none = store_->sources("ticks/v1");
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->empty());

  const auto ticks = ticks_plan();
  prepare(*store_, ticks);
  prepare(*store_, stories_plan());
  Events events;
  events.add(ticks, "A", 1);
  events.add(ticks, "A", 2).envelope.source_id = "venue.us2";
  events.add(ticks, "A", 3).envelope.source_id = "other";
  write(*store_, events.pointers());
  const auto contents = store_->contents();
  ASSERT_TRUE(contents) << contents.error().message;
  EXPECT_EQ(contents->realm, "test");
  EXPECT_EQ(contents->event_types, (std::vector<std::string>{"stories/v1", "ticks/v1"}));
  const auto sources = store_->sources("ticks/v1");
  ASSERT_TRUE(sources) << sources.error().message;
  EXPECT_EQ(*sources, (std::vector<std::string>{"other", "venue.us1", "venue.us2"}));
}

// Stored events back from the store, as `take` gets them.
template <class Take>
void read_back(Store& store, const Registry& registry, const StoredRange& range, Take&& take) {
  auto stored = StoredEvents::open(store, registry, range);
  ASSERT_TRUE(stored) << stored.error().message;
  for (;;) {
    const auto next = (*stored)->next();
    ASSERT_TRUE(next) << next.error().message;
    if (*next == nullptr) return;
    take(**next);
  }
}

TEST_P(StoreContract, GivesEventsOfEveryCanonicalTypeBackForAnEqualStore) {
  constexpr std::uint64_t kSeed = 20261123;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  auto registry = Registry::builtin();
  ASSERT_TRUE(registry) << registry.error().message;
  RandomRows plain(kSeed, false), nasty(kSeed + 1, true);
  std::deque<Event> events;
  std::deque<std::string> payloads;
  std::map<Hash128, const Event*> by_key;
  std::set<std::string> types;
  for (const auto& plan : registry->all()) {
    if (plan->table().empty()) continue;
    prepare(*store_, plan);
    types.insert(plan->event_type());
    for (int i = 0; i < 120; ++i) {
      Event& event = events.emplace_back();
      (i % 3 == 0 ? nasty : plain).fill(*plan, event.row, i % 3 == 1 ? 5 : 0);
      std::string& payload = payloads.emplace_back();
      plan->write(event.row, payload);
      Envelope& e = event.envelope;
      e.event_type = plan->event_type();
      e.schema_ref = plan->schema_ref();
      e.source_id = i % 2 == 0 ? "sim.one" : "sim.two";
      e.realm = "test";
      e.symbol = i % 5 == 0 ? "" : "BTC-USD";
      e.event_time = {1'700'000'000'000'000'000 + plain.random().between(0, 40)};
      e.event_time_source = static_cast<EventTimeSource>(i % 3);
      e.ingest_time = e.event_time + i;
      e.sequence = static_cast<std::uint64_t>(i);
      e.quality = static_cast<Quality>(plain.random().below(1u << kQualityCount));
      e.payload = payload;
      e.checksum = hash64(payload);
      by_key[event.key()] = &event;
    }
  }
  std::vector<const Event*> pointers;
  for (const Event& event : events) pointers.push_back(&event);
  const WriteResult written = write(*store_, pointers);
  ASSERT_GT(written.inserted, events.size() * 9 / 10);  // not every store takes every text

  const auto harness = GetParam()();
  auto opened = harness->open();
  ASSERT_TRUE(opened) << opened.error().message;
  Store& second = **opened;
  for (const std::string& type : types) prepare(second, registry->by_event_type(type));
  std::size_t count = 0, exact = 0;
  std::pair<Timestamp, std::string> last;
  for (int round = 0; round < 2; ++round) {
    count = exact = 0;
    last = {};
    read_back(*store_, *registry, {}, [&](const StoredEvent& stored) {
      ASSERT_EQ(stored.refused, "");
      const Envelope& e = stored.envelope;
      const std::pair<Timestamp, std::string> place{e.event_time, std::string(e.event_type)};
      EXPECT_LE(last, place);
      last = place;
      const auto found = by_key.find(idempotency_key(e));
      ASSERT_NE(found, by_key.end());
      const Envelope& was = found->second->envelope;
      EXPECT_EQ(e.ingest_time, was.ingest_time);
      EXPECT_EQ(e.event_time_source, was.event_time_source);
      EXPECT_EQ(e.schema_ref, was.schema_ref);
      EXPECT_EQ(static_cast<int>(e.quality | Quality::kRounded), static_cast<int>(was.quality | Quality::kRounded));
      EXPECT_EQ(e.watermark, e.event_time);
      EXPECT_EQ(hash64(e.payload), stored.payload_checksum.value_or(e.checksum));
      if (!stored.payload_checksum) {
        EXPECT_EQ(e.payload, was.payload);
        ++exact;
      }
      ++count;
      Event again;
      again.envelope = e;
      again.envelope.realm = "replay_1";
      Violation violation;
      const auto plan = registry->by_ref(e.schema_ref);
      ASSERT_TRUE(plan->read(e.payload, again.row, violation)) << violation.message;
      const Event* const pointer = &again;
      const auto result = second.write({&pointer, 1});
      ASSERT_TRUE(result) << result.error().message;
      ASSERT_TRUE(result->errors.empty()) << result->errors[0].error.message;
      EXPECT_EQ(result->inserted, round == 0 ? 1u : 0u);
    });
  }
  EXPECT_EQ(count, written.inserted);
  EXPECT_GT(exact, count / 2);
  for (const std::string& type : types) EXPECT_EQ(all(second, type), all(*store_, type)) << type;
}

TEST_P(StoreContract, GivesAnEventsExplodedRowsBackAsOne) {
  auto registry = Registry::builtin();
  ASSERT_TRUE(registry);
  const std::string text =
      schema_text("stories", "1.0.0",
                  R"("headline":{"type":"string","maxLength":200},"tickers":{"type":"array","maxItems":256,"items":)"
                  R"({"type":"string","maxLength":64}})",
                  R"(,"explode":"tickers")");
  ASSERT_TRUE(registry->add(text, "test schema"));
  const auto plan = registry->by_event_type("stories/v1");
  prepare(*store_, plan);
  Events events;
  const auto seal = [&](Event& event) {
    std::string payload;
    plan->write(event.row, payload);
    event.envelope.checksum = hash64(payload);
    return payload;
  };
  std::vector<std::string> payloads;
  for (const std::vector<std::string>& tickers : {std::vector<std::string>{"B", "A\"", "C"}, {}, {"A"}, {"D", "E"}}) {
    Event& event = events.add(plan, "", 7, events.size());
    Events::set_text(event, "headline", "h" + std::to_string(tickers.size()));
    if (!tickers.empty()) Events::set_texts(event, "tickers", tickers);
    payloads.push_back(seal(event));
  }
  Event& said = events.add(plan, "", 8);
  Events::set_texts(said, "tickers", {});
  payloads.push_back(seal(said));
  write(*store_, events.pointers());
  std::vector<std::string> found;
  read_back(*store_, *registry, {.event_types = {"stories/v1"}}, [&](const StoredEvent& stored) {
    EXPECT_EQ(stored.refused, "");
    EXPECT_FALSE(stored.payload_checksum);
    found.emplace_back(stored.envelope.payload);
  });
  EXPECT_EQ(found, payloads);
}

TEST_P(StoreContract, GivesEventsOfEveryMinorVersionBack) {
  auto registry = Registry::builtin();
  ASSERT_TRUE(registry);
  ASSERT_TRUE(registry->add(schema_text("m", "1.0.0", R"("a":{"type":"number"})"), "old"));
  const auto old_plan = registry->by_ref("utp://m/1.0.0");
  const std::string newer = schema_text("m", "1.1.0", R"("b":{"type":"string","maxLength":9},"a":{"type":"number"})");
  prepare(*store_, old_plan);
  Events events;
  const auto add = [&](const std::shared_ptr<const Plan>& plan, std::int64_t time) {
    Event& event = events.add(plan, "X", time);
    Events::set_decimal(event, "a", "1.5");
    std::string payload;
    plan->write(event.row, payload);
    event.envelope.checksum = hash64(payload);
  };
  add(old_plan, 1);
  prepare(*store_, compile(newer));
  add(compile(newer), 2);
  write(*store_, events.pointers());
  std::string found;
  const auto read = [&] {
    found.clear();
    read_back(*store_, *registry, {.event_types = {"m/v1"}}, [&](const StoredEvent& stored) {
      found += stored.refused.empty() ? std::string(stored.envelope.schema_ref) + std::string(stored.envelope.payload)
                                      : stored.refused;
      found += ' ';
    });
  };
  read();
  EXPECT_TRUE(found.starts_with(R"(utp://m/1.0.0{"a":1.5} )")) << found;
  EXPECT_NE(found.find("utp://m/1.1.0"), std::string::npos) << found;
  EXPECT_NE(found.find("--schemas"), std::string::npos) << found;
  ASSERT_TRUE(registry->add(newer, "new"));
  read();
  EXPECT_EQ(found, R"(utp://m/1.0.0{"a":1.5} utp://m/1.1.0{"a":1.5} )");
}

TEST_P(StoreContract, GivesOnlyEventsOfTheRangeBack) {
  auto registry = Registry::builtin();
  ASSERT_TRUE(registry);
  ASSERT_TRUE(registry->add(schema_text("m", "1.0.0", R"("a":{"type":"number"})"), "test"));
  const auto plan = registry->by_event_type("m/v1");
  prepare(*store_, plan);
  Events events;
  for (int i = 0; i < 10; ++i) events.add(plan, i % 2 == 0 ? "A" : "B", 1'000 + i).envelope.source_id = i < 5 ? "s.one" : "s.two";
  write(*store_, events.pointers());
  std::string found;
  read_back(*store_, *registry, {.symbols = {"A"}, .sources = {"s.two"}, .from = Timestamp{1'003}, .to = Timestamp{1'008}},
            [&](const StoredEvent& stored) { found += std::to_string(stored.envelope.event_time.ns) + " "; });
  EXPECT_EQ(found, "1006 ");
  const auto missing = StoredEvents::open(*store_, *registry, {.event_types = {"n/v1"}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
}

// Old rows: ticks of two sources at 0, 10, ... 90, and two stories of two rows each.
class Replaced {
 public:
  Replaced() {
    for (int i = 0; i < 10; ++i) {
      old.add(ticks, "A", i * 10, 1);
      old.add(ticks, "A", i * 10, 2).envelope.source_id = "venue.us2";
    }
    for (const int time : {20, 80}) Events::set_texts(old.add(stories, "", time), "tickers", {"A", "B"});
    for (int i = 0; i < 5; ++i) fresh.add(ticks, "A", 21 + i, 3);
    Events::set_texts(fresh.add(stories, "", 21), "tickers", {"C", "D", "E"});
    // One that was there before too, once more. Its checksum is that of the old one.
    fresh.add(ticks, "A", 30, 1).envelope.checksum = old[6].envelope.checksum;
  }
  static ReplaceRange range() { return range_of({"ticks/v1", "stories/v1", "nothing/v1"}, 20, 81); }

  std::shared_ptr<const Plan> ticks = ticks_plan(), stories = stories_plan();
  Events old, fresh;
};

constexpr const char* kOldTimes = "0 0 10 10 20 20 30 30 40 40 50 50 60 60 70 70 80 80 90 90";
constexpr const char* kNewTimes = "0 0 10 10 20 21 22 23 24 25 30 30 40 50 60 70 80 90 90";

TEST_P(StoreContract, ReplacesARangeOfOneSource) {
  Replaced r;
  prepare(*store_, r.ticks);
  prepare(*store_, r.stories);
  write(*store_, r.old.pointers());
  auto reader = open();
  {
    auto replacement = store_->begin_replace(Replaced::range());
    ASSERT_TRUE(replacement) << replacement.error().message;
    EXPECT_EQ((*replacement)->removed(), (std::map<std::string, std::uint64_t>{{"stories/v1", 4}, {"ticks/v1", 7}}));
    auto pointers = r.fresh.pointers();
    for (const std::size_t half : {std::size_t{0}, pointers.size() / 2}) {
      const auto part = std::span(pointers).subspan(half, half == 0 ? pointers.size() / 2 : pointers.size() - half);
      const auto result = (*replacement)->write(part);
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_EQ(result->inserted, part.size());
      EXPECT_EQ(column(all(*reader, "ticks/v1"), "event_time"), kOldTimes);
    }
    const auto again = (*replacement)->write(std::span(pointers).first(2));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->duplicates, 2u);
    const Status committed = (*replacement)->commit();
    ASSERT_TRUE(committed) << committed.error().message;
    EXPECT_FALSE((*replacement)->write(pointers));
    EXPECT_FALSE((*replacement)->commit());
  }
  EXPECT_EQ(column(all(*reader, "ticks/v1"), "event_time"), kNewTimes);
  EXPECT_EQ(column(all(*reader, "stories/v1"), "tickers"), "C D E");
  const auto stats = store_->stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ((*stats)[0].rows, 3u);
  EXPECT_EQ((*stats)[1].rows, 19u);
  // The store goes on.
  EXPECT_EQ(write(*store_, r.fresh.pointers()).duplicates, r.fresh.size());
  EXPECT_EQ(write(*store_, r.old.pointers()).inserted, 6u + 2u);
}

TEST_P(StoreContract, KeepsTheOldRowsWithoutACommit) {
  Replaced r;
  prepare(*store_, r.ticks);
  prepare(*store_, r.stories);
  write(*store_, r.old.pointers());
  for (const bool written : {false, true}) {
    auto replacement = store_->begin_replace(Replaced::range());
    ASSERT_TRUE(replacement) << replacement.error().message;
    if (!written) continue;
    ASSERT_TRUE((*replacement)->write(r.fresh.pointers()));
  }
  EXPECT_EQ(column(all(*store_, "ticks/v1"), "event_time"), kOldTimes);
  EXPECT_EQ(column(all(*store_, "stories/v1"), "tickers"), "A B A B");
  EXPECT_EQ(write(*store_, r.old.pointers()).duplicates, r.old.size());
  const auto stats = store_->stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ((*stats)[1].rows, 20u);
}

TEST_P(StoreContract, NamesTheBadRowsOfAReplacement) {
  Replaced r;
  prepare(*store_, r.ticks);
  prepare(*store_, r.stories);
  write(*store_, r.old.pointers());
  auto replacement = store_->begin_replace(Replaced::range());
  ASSERT_TRUE(replacement) << replacement.error().message;
  r.fresh[1].envelope.realm = "other";
  const auto result = (*replacement)->write(r.fresh.pointers());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, r.fresh.size() - 1);
  ASSERT_EQ(result->errors.size(), 1u);
  EXPECT_EQ(result->errors[0].index, 1u);
}

TEST_P(StoreContract, ReplacesNothingInAnEmptyStore) {
  Replaced r;
  prepare(*store_, r.ticks);
  prepare(*store_, r.stories);
  auto replacement = store_->begin_replace(Replaced::range());
  ASSERT_TRUE(replacement) << replacement.error().message;
  EXPECT_TRUE((*replacement)->removed().empty());
  ASSERT_TRUE((*replacement)->write(r.fresh.pointers()));
  ASSERT_TRUE((*replacement)->commit());
  EXPECT_EQ(all(*store_, "ticks/v1").size(), 6u);
  EXPECT_EQ(store_->contents()->realm, "test");
}

TEST_P(StoreContract, HasOldOrNewRowsWhenAReplacementsProcessIsKilled) {
  Replaced r;
  prepare(*store_, r.ticks);
  prepare(*store_, r.stories);
  write(*store_, r.old.pointers());
  store_.reset();
  for (int point = 0; point < 4; ++point) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto reached = [&](int here) {
        if (point != here) return;
        if (::write(ends[1], "x", 1) != 1) ::_exit(9);
        for (;;) ::pause();
      };
      auto store = harness_->open();
      if (!store || !(*store)->prepare(r.ticks) || !(*store)->prepare(r.stories)) ::_exit(2);
      auto replacement = (*store)->begin_replace(Replaced::range());
      if (!replacement) ::_exit(3);
      reached(0);
      const auto pointers = r.fresh.pointers();
      if (!(*replacement)->write(std::span(pointers).first(3))) ::_exit(4);
      reached(1);
      if (!(*replacement)->write(std::span(pointers).subspan(3))) ::_exit(5);
      reached(2);
      if (!(*replacement)->commit()) ::_exit(6);
      reached(3);
    }
    ::close(ends[1]);
    char byte = 0;
    const bool there = ::read(ends[0], &byte, 1) == 1;
    ::close(ends[0]);
    ::kill(child, SIGKILL);
    int state = 0;
    ::waitpid(child, &state, 0);
    ASSERT_TRUE(there && WIFSIGNALED(state)) << "the child ended by itself at point " << point << ": " << state;
    auto store = open();
    EXPECT_EQ(column(all(*store, "ticks/v1"), "event_time"), point == 3 ? kNewTimes : kOldTimes) << point;
    // Nothing holds the tables any more.
    prepare(*store, r.ticks);
    Events more;
    more.add(r.ticks, "A", 0, 1).envelope.checksum = r.old[0].envelope.checksum;
    EXPECT_EQ(write(*store, more.pointers()).duplicates, 1u);
  }
}

TEST_P(StoreContract, LosesNoRowOfAWriterDuringReplacements) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr int kBatches = 60;
  constexpr int kBatchEvents = 10;
  std::atomic<bool> failed = false;
  std::thread writer([&] {
    auto store = open();
    if (!store || !store->prepare(plan)) {
      failed = true;
      return;
    }
    for (int batch = 0; batch < kBatches; ++batch) {
      Events events;
      // Those at 0 are in the range that is replaced, as the same events that the replacement writes.
      for (int i = 0; i < kBatchEvents; ++i)
        events.add(plan, "W", i < 2 ? i : 1'000 + batch * kBatchEvents + i, 5).envelope.checksum = 7;
      for (;;) {
        const auto result = store->write(events.pointers());
        if (result) break;
        if (result.error().retryable) continue;
        ADD_FAILURE() << result.error().message;
        failed = true;
        return;
      }
    }
  });
  int replaced = 0;
  for (int round = 0; round < 20 && !failed;) {
    auto replacement = store_->begin_replace(range_of({"ticks/v1"}, 0, 100));
    if (!replacement && replacement.error().retryable) continue;
    ASSERT_TRUE(replacement) << replacement.error().message;
    Events events;
    for (int i = 0; i < 20; ++i) events.add(plan, "W", i, 5).envelope.checksum = 7;
    const auto result = (*replacement)->write(events.pointers());
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_TRUE((*replacement)->commit());
    ++replaced;
    ++round;
  }
  writer.join();
  EXPECT_EQ(replaced, 20);
  EXPECT_EQ(all(*store_, "ticks/v1").size(), 20u + kBatches * (kBatchEvents - 2));
}

}  // namespace utp::store_test
