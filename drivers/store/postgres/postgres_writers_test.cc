// The same events from several writers at once: each is one row, whatever the order, the batches and the way into the table.
#include <algorithm>
#include <barrier>
#include <deque>
#include <numeric>
#include <thread>

#include "core/random.h"
#include "drivers/store/postgres/postgres_fixture.h"

namespace utp {
namespace {

using postgres_test::EngineTest;
using store_test::Events;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDay = 86'400 * kSecond;
constexpr std::int64_t kNoon = 1'767'268'800 * kSecond;  // 2026-01-01 12:00 UTC
constexpr int kCleanBatches = 20;                        // as the store has it

class PostgresWriters : public EngineTest {
 protected:
  static constexpr int kWriters = 3, kTimes = 10, kEvents = 600, kBatchMax = 120;

  // Trades, quotes and news of several tickers, over days that no partition is there for.
  void make_events(Random& random) {
    const std::shared_ptr<const Plan> plans[] = {plan("trades/v2"), plan("quotes/v2"), plan("news/v1")};
    for (int i = 0; i < kEvents; ++i) {
      const auto& of = plans[random.below(3)];
      const std::int64_t time = kNoon + random.between(0, 4) * kDay + random.between(0, 20) * kSecond;  // many at the same time
      Event& event = events_.add(of, "S" + std::to_string(random.below(5)), time, static_cast<std::uint64_t>(i));
      event.envelope.checksum = 1;
      if (of == plans[0]) {
        Events::set_decimal(event, "price", "100.5");
        Events::set_decimal(event, "size", "2");
      } else if (of == plans[1]) {
        Events::set_decimal(event, "bid", "99");
        Events::set_decimal(event, "ask", "101");
      } else {
        Events::set_text(event, "headline", "Something happened");
        Events::set_texts(event, "tickers", {"A", "B", "C"});
      }
    }
  }
  std::unique_ptr<Store> open_prepared() {
    auto store = open();
    for (const char* type : {"trades/v2", "quotes/v2", "news/v1"}) EXPECT_TRUE(store->prepare(plan(type)));
    return store;
  }

  Events events_;
};
UTP_TEST_ON_ENGINES(PostgresWriters);

TEST_P(PostgresWriters, AnEventSentTenTimesThroughThreeWritersIsOneRow) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random seeds(kSeed);
  make_events(seeds);
  std::barrier together(kWriters);
  std::size_t inserted[kWriters] = {}, seen[kWriters] = {}, own[kWriters] = {};
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w, seed = seeds.next()] {
      Random random(seed);
      const auto store = open_prepared();
      Events alone;
      const auto write = [&](std::span<const Event* const> batch) {
        const auto result = store->write(batch);
        EXPECT_TRUE(result) << result.error().message;  // not even one that may be repeated: nobody is in the way for good
        if (!result) return std::size_t{0};
        EXPECT_TRUE(result->errors.empty());
        EXPECT_EQ(result->inserted + result->duplicates, batch.size());
        return result->inserted;
      };
      for (int time = 0; time < kTimes; ++time) {
        // The first copies straight into the tables again, the others are in staging since the first duplicate.
        for (int i = 0; w == 0 && i < kCleanBatches; ++i) {
          Event& event = alone.add(plan("trades/v2"), "OWN", kNoon + i * kSecond, static_cast<std::uint64_t>(time));
          event.envelope.checksum = 2;
          const Event* const pointer = &event;
          own[w] += write({&pointer, 1});
        }
        auto all = events_.pointers();
        std::shuffle(all.begin(), all.end(), random);
        together.arrive_and_wait();
        for (std::size_t at = 0; at < all.size();) {
          const std::size_t size = std::min<std::size_t>(1 + random.below(kBatchMax), all.size() - at);
          inserted[w] += write(std::span(all).subspan(at, size));
          seen[w] += size;
          at += size;
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(std::accumulate(seen, seen + kWriters, std::size_t{0}), static_cast<std::size_t>(kWriters * kTimes * kEvents));
  EXPECT_EQ(std::accumulate(inserted, inserted + kWriters, std::size_t{0}), static_cast<std::size_t>(kEvents));
  EXPECT_EQ(own[0], static_cast<std::size_t>(kTimes * kCleanBatches));
  EXPECT_EQ(database_.sql("SELECT (SELECT count(*) FROM trades WHERE symbol <> 'OWN') + (SELECT count(*) FROM quotes) + (SELECT count(*) / 3 FROM news)"),
            std::to_string(kEvents));
  EXPECT_EQ(database_.sql("SELECT count(DISTINCT (key, row_no)) - count(*) FROM news"), "0");
  const auto store = open_prepared();
  const auto maintained = store->maintain();
  ASSERT_TRUE(maintained) << maintained.error().message;
  const auto findings = store->verify();
  ASSERT_TRUE(findings) << findings.error().message;
  for (const Finding& finding : *findings) ADD_FAILURE() << finding.where << ": " << finding.what;
}

}  // namespace
}  // namespace utp
