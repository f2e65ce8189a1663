#include "normalize/normalizer.h"

#include <map>
#include <string>
#include <tuple>

#include <gtest/gtest.h>

#include "core/random.h"
#include "schema/registry.h"

namespace utp {
namespace {

constexpr Timestamp kNoon{1'795'348'800'000'000'000};
constexpr std::int64_t kSecond = 1'000'000'000;

class NormalizerTest : public testing::Test {
 protected:
  NormalizerTest() : registry_(Registry::builtin().value()), reader_(registry_) { restart({}); }

  void restart(NormalizerOptions options) {
    if (options.source_id.empty()) options.source_id = "sim.us1";
    normalizer_.emplace(options);
    quotes_ = normalizer_->add_route(registry_.by_event_type("quotes/v2"));
    trades_ = normalizer_->add_route(registry_.by_event_type("trades/v2"));
  }

  // One quote; the envelope's text, or "code path" of the violation.
  std::string quote(std::string_view symbol, Timestamp time, std::int64_t bid = 1, std::optional<std::uint64_t> sequence = {},
                    Quality quality = Quality::kNone) {
    Row row(normalizer_->plan(quotes_));
    row.set(0, Decimal(bid, 0));
    return run(quotes_, {symbol, time, EventTimeSource::kVenue, sequence, quality}, row);
  }

  std::string run(std::uint32_t route, const EventHeader& header, const Row& row) {
    EventBatch batch;
    Violation violation;
    if (!normalizer_->normalize(route, header, row, kNoon, batch, violation)) {
      EXPECT_EQ(batch.size(), 0u);
      EXPECT_EQ(batch.bytes(), 0u);
      return violation.code + " " + violation.path;
    }
    return std::string(batch.value(batch.entries()[0]));
  }

  Envelope envelope_of(const std::string& text) {
    texts_.push_back(std::make_unique<std::string>(text));
    Violation violation;
    EXPECT_TRUE(reader_.read(*texts_.back(), event_, violation)) << text << violation.code << violation.path << violation.message;
    return event_.envelope;
  }

  Registry registry_;
  EventReader reader_;
  std::optional<Normalizer> normalizer_;
  std::uint32_t quotes_ = 0;
  std::uint32_t trades_ = 0;
  Event event_;
  std::vector<std::unique_ptr<std::string>> texts_;
};

TEST_F(NormalizerTest, WritesTheCanonicalEnvelope) {
  Row row(normalizer_->plan(quotes_));
  row.set(0, Decimal(6'508'367, -2));
  row.set(5, std::string_view("SIM"));
  EventHeader header{"BTC-USD", kNoon + 1, EventTimeSource::kGateway, 42, Quality::kSnapshot | Quality::kDelayed};
  EXPECT_EQ(run(quotes_, header, row),
            R"({"v":1,"event_type":"quotes/v2","schema_ref":"utp://quotes/2.0.0","source_id":"sim.us1","realm":"prod",)"
            R"("region":"local","symbol":"BTC-USD","event_time":"2026-11-22T12:00:00.000000001Z","event_time_source":"gateway",)"
            R"("ingest_time":"2026-11-22T12:00:00.000000000Z","sequence":42,"watermark":"2026-11-22T11:59:55.000000001Z",)"
            "\"checksum\":\"" + [] {
              std::string hex(16, '0');
              write_hex64(hex.data(), hash64(R"({"bid":65083.67,"venue":"SIM"})"));
              return hex;
            }() + R"(","quality":["delayed","snapshot"],"payload":{"bid":65083.67,"venue":"SIM"}})");
  EXPECT_EQ(normalizer_->topic(quotes_), "utp.prod.local.quotes.v2");
}

TEST_F(NormalizerTest, OrdinalsCountIdenticalPayloadsOfOneSymbolAndTime) {
  EXPECT_EQ(envelope_of(quote("A", kNoon)).sequence, 0u);
  EXPECT_EQ(envelope_of(quote("A", kNoon)).sequence, 1u);
  EXPECT_EQ(envelope_of(quote("A", kNoon, 2)).sequence, 0u);
  EXPECT_EQ(envelope_of(quote("A", kNoon + 1)).sequence, 0u);
  EXPECT_EQ(envelope_of(quote("B", kNoon)).sequence, 0u);
  EXPECT_EQ(envelope_of(quote("A", kNoon)).sequence, 2u);
}

TEST_F(NormalizerTest, OrdinalsCountAnewOnEachConnection) {
  const Hash128 first = idempotency_key(envelope_of(quote("A", kNoon)));
  const Hash128 second = idempotency_key(envelope_of(quote("A", kNoon)));
  EXPECT_NE(first, second);
  normalizer_->connection_opened();
  EXPECT_EQ(idempotency_key(envelope_of(quote("A", kNoon))), first);
  EXPECT_EQ(idempotency_key(envelope_of(quote("A", kNoon))), second);
}

// Against a plain map, with times that go on, stand still and go back.
TEST_F(NormalizerTest, OrdinalsAgreeWithAPlainCountInAnyOrderOfTimes) {
  const std::uint64_t seed = 17;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, std::uint64_t> counts;
  std::int64_t now = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (random.chance(0.001)) {
      normalizer_->connection_opened();
      counts.clear();
    }
    if (random.chance(0.3)) ++now;
    const std::string symbol(1, static_cast<char>('A' + random.below(3)));
    const std::int64_t time = std::max<std::int64_t>(0, now - static_cast<std::int64_t>(random.chance(0.2) ? random.below(50) : 0));
    const std::int64_t bid = random.between(1, 3);
    ASSERT_EQ(envelope_of(quote(symbol, kNoon + time, bid)).sequence, counts[std::make_tuple(symbol, time, bid)]++) << i;
    texts_.clear();
  }
}

TEST_F(NormalizerTest, OrdinalsMayHaveManyDigits) {
  for (std::uint64_t i = 0; i < 1'234; ++i) {
    ASSERT_EQ(envelope_of(quote("A", kNoon)).sequence, i);
    texts_.clear();
  }
}

TEST_F(NormalizerTest, AVenueSequenceIsKeptAndCountsNothing) {
  EXPECT_EQ(envelope_of(quote("A", kNoon, 1, kSequenceMax)).sequence, kSequenceMax);
  EXPECT_EQ(envelope_of(quote("A", kNoon, 1)).sequence, 0u);
  EXPECT_EQ(quote("A", kNoon, 1, kSequenceMax + 1), "maximum /sequence");
}

TEST_F(NormalizerTest, ARefusedEventDoesNotCount) {
  EXPECT_EQ(quote("A", {0}), "minimum /event_time");
  EXPECT_FALSE(normalizer_->watermark(quotes_, "A"));
  Row row(normalizer_->plan(trades_));
  EXPECT_EQ(run(trades_, {"A", kNoon}, row), "required /payload/price");
  EXPECT_FALSE(normalizer_->watermark(trades_, "A"));
  EXPECT_EQ(envelope_of(quote("A", kNoon)).sequence, 0u);
}

TEST_F(NormalizerTest, WatermarksFollowTheHighestTimePerSymbolAndNeverGoBack) {
  EXPECT_EQ(envelope_of(quote("A", kNoon)).watermark, kNoon - 5 * kSecond);
  EXPECT_EQ(envelope_of(quote("A", kNoon + kSecond)).watermark, kNoon - 4 * kSecond);
  EXPECT_EQ(envelope_of(quote("A", kNoon - kSecond)).watermark, kNoon - 4 * kSecond);
  EXPECT_EQ(envelope_of(quote("B", kNoon - kSecond)).watermark, kNoon - 6 * kSecond);
  EXPECT_EQ(normalizer_->watermark(quotes_, "A"), kNoon - 4 * kSecond);
  EXPECT_FALSE(normalizer_->watermark(trades_, "A"));
}

TEST_F(NormalizerTest, WhatComesBehindTheWatermarkIsLate) {
  quote("A", kNoon);
  EXPECT_EQ(envelope_of(quote("A", kNoon - 5 * kSecond)).quality, Quality::kNone);
  EXPECT_EQ(envelope_of(quote("A", kNoon - 5 * kSecond - 1)).quality, Quality::kLate);
  EXPECT_EQ(envelope_of(quote("A", kNoon - 6 * kSecond, 1, {}, Quality::kSnapshot)).quality, Quality::kLate | Quality::kSnapshot);
  EXPECT_EQ(envelope_of(quote("B", kNoon - 6 * kSecond)).quality, Quality::kNone);
}

TEST_F(NormalizerTest, ChecksSymbols) {
  EXPECT_EQ(quote("a b", kNoon).substr(0, 1), "{");
  EXPECT_EQ(quote("", kNoon).substr(0, 1), "{");
  EXPECT_EQ(quote("é", kNoon), "pattern /symbol");
  EXPECT_EQ(quote("a\"b", kNoon), "pattern /symbol");
  EXPECT_EQ(quote(std::string(65, 'x'), kNoon), "maxLength /symbol");
  EXPECT_EQ(quote(std::string(64, 'x'), kNoon).substr(0, 1), "{");
}

TEST_F(NormalizerTest, LimitsTheNumberOfSymbols) {
  NormalizerOptions options;
  options.symbols_max = 2;
  restart(options);
  quote("A", kNoon);
  quote("B", kNoon);
  EXPECT_EQ(quote("C", kNoon), "symbols_max /symbol");
  EXPECT_EQ(quote("A", kNoon).substr(0, 1), "{");
}

TEST_F(NormalizerTest, RefusesWhatIsTooLargeForABus) {
  const std::uint32_t book = normalizer_->add_route(registry_.by_event_type("orderbook/v1"));
  const Plan& plan = normalizer_->plan(book);
  Row row(plan);
  row.set(0, std::string_view("snapshot"));
  row.set(1, std::string_view("b1"));
  row.set(2, std::int64_t{1});
  row.set(3, std::int64_t{0});
  row.set(4, std::int64_t{1});
  const auto fill = [&row](std::size_t column, std::uint32_t levels) {
    row.begin_array(column);
    for (std::uint32_t i = 0; i < levels; ++i) {
      row.push(Value::of(Decimal(123'456'789'012'345'678, -9)));
      row.push(Value::of(Decimal(1, -8)));
    }
    row.end_array(column, levels);
  };
  fill(plan.column("bids").value(), 20'000);
  fill(plan.column("asks").value(), 0);
  EXPECT_EQ(run(book, {"A", kNoon}, row), "size ");
}

TEST_F(NormalizerTest, RefusesEverythingUnderBadOptions) {
  for (const auto& [options, expected] : std::vector<std::pair<NormalizerOptions, std::string>>{
           {{.source_id = "Sim"}, "pattern /source_id"},
           {{.source_id = "sim", .realm = "a b"}, "pattern /realm"},
           {{.source_id = "sim", .region = ""}, "pattern /region"}}) {
    restart(options);
    EXPECT_EQ(quote("A", kNoon), expected);
  }
}

TEST_F(NormalizerTest, BatchesKeepEveryMessageAndItsKey) {
  EventBatch batch;
  Violation violation;
  Row row(normalizer_->plan(quotes_));
  for (int i = 0; i < 500; ++i) {
    row.set(0, Decimal(i, -2));
    ASSERT_TRUE(normalizer_->normalize(quotes_, {"SYM" + std::to_string(i), kNoon}, row, kNoon, batch, violation));
    if (i % 7 == 0) {
      ASSERT_FALSE(normalizer_->normalize(quotes_, {"bad\n", kNoon}, row, kNoon, batch, violation));
    }
  }
  ASSERT_EQ(batch.size(), 500u);
  Event event;
  for (std::size_t i = 0; i < 500; ++i) {
    const auto& entry = batch.entries()[i];
    EXPECT_EQ(entry.route, quotes_);
    EXPECT_EQ(batch.key(entry), "SYM" + std::to_string(i));
    ASSERT_TRUE(reader_.read(batch.value(entry), event, violation)) << violation.message;
    EXPECT_EQ(event.envelope.symbol, "SYM" + std::to_string(i));
    EXPECT_EQ(event.row[0].as_decimal(), Decimal(static_cast<std::int64_t>(i), -2));
  }
  batch.clear();
  EXPECT_EQ(batch.size(), 0u);
}

}  // namespace
}  // namespace utp
