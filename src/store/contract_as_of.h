// The part of the contract about Query::as_of. Included by store/contract_suite.h.
#pragma once

namespace utp::store_test {

class StoreAsOf : public StoreContract {
 protected:
  std::string found(Query query, const std::string& name = "sequence") {
    query.event_type = event_type_;
    if (!query.as_of) query.as_of = kEndOfTime;
    return column(rows(*store_, query), name);
  }
  std::string event_type_ = "ticks/v1";
};

TEST_P(StoreAsOf, GivesTheLastEventOfEachSymbolInTheOrderOfItsBytes) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  events.add(plan, "b", 10, 1);
  events.add(plan, "B", 20, 2);
  events.add(plan, "b", 30, 3);
  events.add(plan, "caf\xC3\xA9", 5, 4);
  events.add(plan, "", 40, 5);
  events.add(plan, "B", 15, 6);
  events.add(plan, "A-1", 1, 7);
  events.add(plan, "A1", 2, 8);
  Events::set_decimal(events[2], "price", "1.25");
  write(*store_, events.pointers());
  EXPECT_EQ(found({}, "symbol"), "A-1 A1 B b caf\xC3\xA9");
  EXPECT_EQ(found({}), "5 7 8 2 3 4");
  EXPECT_EQ(found({}, "price"), "null null null null 1.25 null");
  EXPECT_EQ(found({.limit = 4}), "5 7 8 2");
  EXPECT_EQ(found({.symbols = {"b"}}), "3");
  EXPECT_EQ(found({.symbols = {"b", "A1", "B", "b"}}), "8 2 3");
  EXPECT_EQ(found({.symbols = {"b", "A1", "B"}, .limit = 1}), "8");
  EXPECT_EQ(found({.symbols = {"it's", "b", "{\"\\,}"}}), "3");
  EXPECT_EQ(found({.symbols = {"Z"}}), "");
}

TEST_P(StoreAsOf, CountsToTheNanosecond) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr std::int64_t kTime = 1'795'357'800'123'456'000;
  Events events;
  for (int ns : {0, 1, 999, 1000, 1001}) events.add(plan, "X", kTime + ns, static_cast<std::uint64_t>(ns));
  events.add(plan, "X", -1, 7);
  events.add(plan, "X", -1000, 8);
  write(*store_, events.pointers());
  const auto at = [&](std::int64_t ns) { return found({.as_of = Timestamp{ns}}); };
  EXPECT_EQ(at(kTime), "0");
  EXPECT_EQ(at(kTime + 1), "1");
  EXPECT_EQ(at(kTime + 998), "1");
  EXPECT_EQ(at(kTime + 999), "999");
  EXPECT_EQ(at(kTime + 1000), "1000");
  EXPECT_EQ(at(kTime + 5000), "1001");
  EXPECT_EQ(at(kTime - 1), "7");
  EXPECT_EQ(at(-1), "7");
  EXPECT_EQ(at(-2), "8");
  EXPECT_EQ(at(-1001), "");
  EXPECT_EQ(found({}), "1001");
}

TEST_P(StoreAsOf, TakesTheOneThatTheUsualOrderHasLastAmongEqualTimes) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  for (int i = 0; i < 40; ++i) events.add(plan, i % 2 == 0 ? "A" : "B", 100, static_cast<std::uint64_t>(i * 7 % 20));  // some sequences are there twice
  events.add(plan, "A", 99, 1000);
  events.add(plan, "A", 101, 3);
  write(*store_, events.pointers());
  for (const char* symbol : {"A", "B"}) {
    for (const std::int64_t time : {99, 100, 101}) {
      const auto usual = rows(*store_, {.event_type = event_type_, .symbols = {symbol}, .to = Timestamp{time + 1}});
      const std::string expected = usual.empty() ? "" : usual.back().at("key");
      EXPECT_EQ(found({.symbols = {symbol}, .as_of = Timestamp{time}}, "key"), expected) << symbol << " at " << time;
    }
  }
}

TEST_P(StoreAsOf, LooksAmongTheSourcesAndNotBeforeFrom) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  events.add(plan, "A", 10, 1);
  events.add(plan, "A", 20, 2).envelope.source_id = "venue.us2";
  events.add(plan, "B", 21, 3);
  events.add(plan, "B", 20, 4).envelope.source_id = "venue.us2";
  events.add(plan, "C", 5, 5).envelope.source_id = "venue.us2";
  write(*store_, events.pointers());
  EXPECT_EQ(found({}), "2 3 5");
  EXPECT_EQ(found({.sources = {"venue.us1"}}), "1 3");
  EXPECT_EQ(found({.sources = {"venue.us2"}}), "2 4 5");
  EXPECT_EQ(found({.sources = {"venue.us2", "venue.us1"}}), "2 3 5");
  EXPECT_EQ(found({.sources = {"nobody"}}), "");
  EXPECT_EQ(found({.symbols = {"A", "C"}, .sources = {"venue.us1"}}), "1");
  EXPECT_EQ(found({.from = Timestamp{10}}), "2 3");
  EXPECT_EQ(found({.from = Timestamp{20}, .as_of = Timestamp{20}}), "2 4");
  EXPECT_EQ(found({.from = Timestamp{21}}), "3");
  EXPECT_EQ(found({.from = Timestamp{22}}), "");
  EXPECT_EQ(found({.sources = {"venue.us1"}, .from = Timestamp{11}}), "3");
  EXPECT_EQ(found({.from = Timestamp{30}, .as_of = Timestamp{20}}), "");
}

TEST_P(StoreAsOf, GivesNothingBeforeTheFirstEventAndOfAnEmptyTable) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  EXPECT_EQ(found({}), "");
  EXPECT_EQ(found({.symbols = {"A"}}), "");
  Events events;
  events.add(plan, "A", 10, 1);
  write(*store_, events.pointers());
  EXPECT_EQ(found({.as_of = Timestamp{9}}), "");
  EXPECT_EQ(found({.as_of = Timestamp{std::numeric_limits<std::int64_t>::min()}}), "");
  EXPECT_EQ(found({.as_of = Timestamp{10}}), "1");
}

TEST_P(StoreAsOf, GivesAllRowsOfAnExplodedEvent) {
  const auto plan = stories_plan();
  event_type_ = "stories/v1";
  prepare(*store_, plan);
  Events events;
  Events::set_texts(events.add(plan, "B", 1), "tickers", {"old", "older"});
  Events::set_texts(events.add(plan, "B", 2), "tickers", {"Z", "A", "M"});
  Events::set_texts(events.add(plan, "A", 1), "tickers", {"X"});
  events.add(plan, "C", 3);
  write(*store_, events.pointers());
  EXPECT_EQ(found({}, "tickers"), "X Z A M null");
  EXPECT_EQ(found({}, "row_no"), "0 0 1 2 0");
  EXPECT_EQ(found({.limit = 3}, "tickers"), "X Z A");
  EXPECT_EQ(found({.as_of = Timestamp{1}}, "tickers"), "X old older");
  EXPECT_EQ(found({.symbols = {"B"}}, "tickers"), "Z A M");
}

// Against the plain way to the same answer, over many symbols, of which some are seldom seen.
TEST_P(StoreAsOf, AgreesWithTheWholeHistory) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr std::uint64_t kSeed = 20261123;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  Events events;
  for (int i = 0; i < 5000; ++i) {
    const std::int64_t time = random.between(-2000, 8000);
    const std::uint64_t symbol = time < 0 ? random.below(60) : random.below(20);
    events.add(plan, "S" + std::to_string(symbol), time, static_cast<std::uint64_t>(i));
    if (random.chance(0.3)) events[events.size() - 1].envelope.source_id = "venue.us2";
  }
  write(*store_, events.pointers());
  for (const std::int64_t time : {-1500, 0, 17, 4000, 9000}) {
    for (const bool one_source : {false, true}) {
      Query query{.event_type = event_type_, .to = Timestamp{time + 1}};
      if (one_source) query.sources = {"venue.us2"};
      std::map<std::string, std::string> last;
      for (const TextRow& row : rows(*store_, query)) last[row.at("symbol")] = row.at("key");
      std::string expected;
      for (const auto& [symbol, key] : last) expected += (expected.empty() ? "" : " ") + key;
      query.to.reset();
      query.as_of = Timestamp{time};
      EXPECT_EQ(found(query, "key"), expected) << "at " << time;
    }
  }
}

TEST_P(StoreAsOf, RefusesWhatHasNoMeaningWithIt) {
  prepare(*store_, ticks_plan());
  const Query with_to{.event_type = event_type_, .to = Timestamp{5}, .as_of = kEndOfTime};
  const Query newest_first{.event_type = event_type_, .newest_first = true, .as_of = kEndOfTime};
  for (const Query& query : {with_to, newest_first}) {
    const auto cursor = store_->query(query);
    ASSERT_FALSE(cursor);
    EXPECT_EQ(cursor.error().code, Code::kInvalidArgument);
  }
  const auto unknown = store_->query({.event_type = "tocks/v1", .as_of = kEndOfTime});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kNotFound);
}

}  // namespace utp::store_test
