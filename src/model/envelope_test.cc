#include "model/envelope.h"

#include <gtest/gtest.h>

namespace utp {
namespace {

Envelope sample() {
  Envelope e;
  e.event_type = "quotes/v2";
  e.source_id = "sim.us1";
  e.symbol = "BTC-USD";
  e.event_time = {1'700'000'000'123'456'789};
  e.sequence = 7;
  e.checksum = 0x0123456789abcdef;
  return e;
}

TEST(Envelope, QualityNamesGoBothWaysInBitOrder) {
  for (unsigned bit = 0; bit < kQualityCount; ++bit) {
    EXPECT_EQ(parse_quality(quality_name(bit)), static_cast<Quality>(1u << bit));
  }
  EXPECT_EQ(quality_name(kQualityCount), "");
  EXPECT_FALSE(parse_quality("fine"));
  EXPECT_EQ(to_string(Quality::kLate | Quality::kSnapshot), "snapshot,late");
  EXPECT_EQ(to_string(Quality::kNone), "");
}

TEST(Envelope, EventTimeSourcesGoBothWays) {
  for (const auto source : {EventTimeSource::kVenue, EventTimeSource::kGateway, EventTimeSource::kReceipt}) {
    EXPECT_EQ(parse_event_time_source(to_string(source)), source);
  }
  EXPECT_FALSE(parse_event_time_source("Venue"));
}

TEST(Envelope, IdempotencyKeyIsXxh3OfLengthPrefixedFields) {
  std::string bytes;
  const auto put = [&bytes](std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i));
  };
  const Envelope e = sample();
  for (const auto text : {e.event_type, e.source_id, e.symbol}) {
    put(text.size(), 4);
    bytes += text;
  }
  put(static_cast<std::uint64_t>(e.event_time.ns), 8);
  put(e.sequence, 8);
  put(e.checksum, 8);
  EXPECT_EQ(idempotency_key(e), hash128(bytes));
}

TEST(Envelope, IdempotencyKeyDependsOnEachIdentifyingFieldAndNoOther) {
  const Hash128 key = idempotency_key(sample());
  const auto changed = [&key](auto change) {
    Envelope e = sample();
    change(e);
    return idempotency_key(e) != key;
  };
  EXPECT_TRUE(changed([](Envelope& e) { e.event_type = "quotes/v3"; }));
  EXPECT_TRUE(changed([](Envelope& e) { e.source_id = "sim.us2"; }));
  EXPECT_TRUE(changed([](Envelope& e) { e.symbol = "BTC-EUR"; }));
  EXPECT_TRUE(changed([](Envelope& e) { e.event_time.ns += 1; }));
  EXPECT_TRUE(changed([](Envelope& e) { e.sequence += 1; }));
  EXPECT_TRUE(changed([](Envelope& e) { e.checksum += 1; }));
  EXPECT_TRUE(changed([](Envelope& e) {  // the length prefix keeps neighbours apart
    e.source_id = "sim.us1B";
    e.symbol = "TC-USD";
  }));
  EXPECT_FALSE(changed([](Envelope& e) {
    e.realm = "test";
    e.ingest_time = {1};
    e.watermark = {2};
    e.quality = Quality::kLate;
    e.payload = "{}";
  }));
}

TEST(Envelope, IdempotencyKeyTakesLongTexts) {
  Envelope e = sample();
  const std::string longer(2'000, 'x');
  e.symbol = longer;
  EXPECT_NE(idempotency_key(e), idempotency_key(sample()));
}

TEST(Topic, NamesFollowRealmRegionAndType) {
  EXPECT_EQ(topic_name("prod", "chamber_us", "gex/levels/v1"), "utp.prod.chamber_us.gex.levels.v1");
  EXPECT_EQ(dead_letter_topic("utp.prod.eu.quotes.v2"), "utp.prod.eu.quotes.v2.dlq");
  EXPECT_TRUE(is_dead_letter_topic("utp.prod.eu.quotes.v2.dlq"));
  EXPECT_FALSE(is_dead_letter_topic("utp.prod.eu.quotes.v2"));
}

TEST(Topic, PatternsMatchBySegment) {
  EXPECT_TRUE(topic_matches("utp.prod.*.quotes.v2", "utp.prod.chamber_us.quotes.v2"));
  EXPECT_FALSE(topic_matches("utp.prod.*.quotes.v2", "utp.prod.a.b.quotes.v2"));
  EXPECT_FALSE(topic_matches("utp.prod.*", "utp.prod"));
  EXPECT_TRUE(topic_matches("utp.prod.us.signals.>", "utp.prod.us.signals.zgzd.v1"));
  EXPECT_FALSE(topic_matches("utp.prod.us.signals.>", "utp.prod.us.signals"));
  EXPECT_TRUE(topic_matches(">", "utp.prod"));
  EXPECT_TRUE(topic_matches("utp.prod", "utp.prod"));
  EXPECT_FALSE(topic_matches("utp.prod", "utp.prod.us"));
  EXPECT_FALSE(topic_matches("utp.prod.us", "utp.prod"));
  EXPECT_FALSE(topic_matches("utp.pro", "utp.prod"));
}

TEST(Topic, WildcardsPassDeadLettersBy) {
  EXPECT_FALSE(topic_matches("utp.>", "utp.prod.us.quotes.v2.dlq"));
  EXPECT_FALSE(topic_matches("utp.prod.us.quotes.v2.*", "utp.prod.us.quotes.v2.dlq"));
  EXPECT_TRUE(topic_matches("utp.prod.us.*.v2.dlq", "utp.prod.us.quotes.v2.dlq"));
  EXPECT_TRUE(topic_matches("utp.>.dlq", "utp.prod.us.quotes.v2.dlq"));
  EXPECT_FALSE(topic_matches("utp.>.dlq", "utp.prod.us.quotes.v2"));
  EXPECT_TRUE(topic_matches("utp.prod.us.quotes.v2.dlq", "utp.prod.us.quotes.v2.dlq"));
}

TEST(Topic, RefusesWhatABusCannotCarryAndSaysWhy) {
  EXPECT_TRUE(check_topic("utp.prod.chamber_us.quotes.v2"));
  for (const std::string bad : {"", ".", "a..b", "a.", ".a", "A.b", "a b", "a.*", "a.>", "a/b"}) {
    const auto status = check_topic(bad);
    ASSERT_FALSE(status) << bad;
    EXPECT_NE(status.error().message.find("\"" + bad + "\""), std::string::npos);
  }
  EXPECT_FALSE(check_topic(std::string(201, 'a')));
  EXPECT_TRUE(check_topic(std::string(200, 'a')));
  for (const std::string good : {"a.*.b", "a.>", ">", "*", "a.>.dlq", "a.b.dlq"}) EXPECT_TRUE(check_topic_pattern(good)) << good;
  for (const std::string bad : {"a.>.b", "a*", "a.b>", "", "a.>."}) EXPECT_FALSE(check_topic_pattern(bad)) << bad;
}

}  // namespace
}  // namespace utp
