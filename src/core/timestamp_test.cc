#include "core/timestamp.h"

#include <string>

#include <gtest/gtest.h>

#include "core/random.h"

namespace utp {
namespace {

TEST(Timestamp, WritesAndReadsTheCanonicalForm) {
  const Timestamp t{1'795'530'600'123'456'789};
  EXPECT_EQ(t.to_string().size(), Timestamp::kTextSize);
  EXPECT_EQ(Timestamp::parse_canonical(t.to_string()), t);
  EXPECT_EQ(Timestamp{0}.to_string(), "1970-01-01T00:00:00.000000000Z");
  EXPECT_EQ(Timestamp{-1}.to_string(), "1969-12-31T23:59:59.999999999Z");
}

TEST(Timestamp, RoundTripsAnyInstant) {
  Random random(7);
  for (int i = 0; i < 20'000; ++i) {
    const Timestamp t{random.between(-9'000'000'000'000'000'000, 9'000'000'000'000'000'000)};
    EXPECT_EQ(Timestamp::parse_canonical(t.to_string()), t) << t.ns;
  }
}

TEST(Timestamp, ReadsRfc3339) {
  EXPECT_EQ(Timestamp::parse_rfc3339("1970-01-01T00:00:01Z")->ns, 1'000'000'000);
  EXPECT_EQ(Timestamp::parse_rfc3339("1970-01-01t01:00:01.5+01:00")->ns, 1'500'000'000);
  EXPECT_EQ(Timestamp::parse_rfc3339("1998-12-31T15:59:60.123-08:00")->to_string(), "1999-01-01T00:00:00.123000000Z");
  for (const std::string text : {"1970-01-01", "1970-13-01T00:00:00Z", "1970-02-29T00:00:00Z", "1970-01-01T24:00:00Z",
                                 "1970-01-01T00:60:00Z", "1998-12-31T22:59:60Z", "1970-01-01T00:00:00.Z",
                                 "1970-01-01T00:00:00", "1970-01-01T00:00:00.1234567891Z"}) {
    EXPECT_FALSE(Timestamp::parse_rfc3339(text)) << text;
  }
}

TEST(Timestamp, ReadsWhatPeopleType) {
  EXPECT_EQ(Timestamp::parse_lenient("2024-01-07")->to_string(), "2024-01-07T00:00:00.000000000Z");
  EXPECT_EQ(Timestamp::parse_lenient("2024-01-07 12:30")->to_string(), "2024-01-07T12:30:00.000000000Z");
  EXPECT_FALSE(Timestamp::parse_lenient("yesterday at noon"));
}

TEST(Timestamp, ReadsUnixSecondsExactly) {
  EXPECT_EQ(Timestamp::parse_unix_seconds("1618678132.111725")->ns, 1'618'678'132'111'725'000);
  EXPECT_EQ(Timestamp::parse_unix_seconds("1618678132")->ns, 1'618'678'132'000'000'000);
  EXPECT_FALSE(Timestamp::parse_unix_seconds("x"));
}

TEST(Timestamp, ReadsDurations) {
  EXPECT_EQ(parse_duration("250ms"), 250'000'000);
  EXPECT_EQ(parse_duration("72h"), 72ll * 3'600 * 1'000'000'000);
  EXPECT_FALSE(parse_duration("5"));
  EXPECT_FALSE(parse_duration("5 apples"));
}

}  // namespace
}  // namespace utp
