// The types that `utp schema gen cpp` writes, generated in this build.
#include "generated/utp_types.h"

#include <gtest/gtest.h>

#include "schema/registry.h"

namespace utp {
namespace {

template <class T>
T through_text(const T& event, std::string& text) {
  const auto registry = Registry::builtin();
  const auto plan = registry->by_ref(T::kSchemaRef);
  EXPECT_NE(plan, nullptr);
  Row row;
  event.to_row(*plan, row);
  Violation violation;
  EXPECT_TRUE(plan->validate(row, violation)) << violation.path << ": " << violation.message;
  text.clear();
  plan->write(row, text);
  Row again;
  EXPECT_TRUE(plan->read(text, again, violation)) << text << "\n" << violation.path << ": " << violation.message;
  return T::from_row(again);
}

TEST(GeneratedCpp, KeepsAQuoteExactly) {
  types::QuotesV2 quote;
  quote.bid = *Decimal::parse("84213.123456789012");
  quote.bid_size = *Decimal::parse("0.000000000000000001");
  quote.tick_type = "ticker";
  std::string text;
  EXPECT_EQ(through_text(quote, text), quote);
  EXPECT_EQ(text, R"({"bid":84213.123456789012,"bid_size":0.000000000000000001,"tick_type":"ticker"})");
}

TEST(GeneratedCpp, KeepsArraysAndTuples) {
  types::OrderbookV1 book;
  book.kind = "delta";
  book.book_id = "b1";
  book.book_seq = 9'007'199'254'740'991;
  book.parts = 1;
  book.bids = {{*Decimal::parse("1.5"), *Decimal::parse("2")}, {*Decimal::parse("1.4"), Decimal()}};
  std::string text;
  EXPECT_EQ(through_text(book, text), book);
  EXPECT_NE(text.find(R"("bids":[[1.5,2],[1.4,0]],"asks":[])"), std::string::npos) << text;
  types::TradesV2 trade;
  trade.price = *Decimal::parse("10");
  trade.conditions = std::vector<std::string>{"@", "\"quoted\""};
  EXPECT_EQ(through_text(trade, text), trade);
}

TEST(GeneratedCpp, KeepsTimesToTheNanosecond) {
  types::GexLevelsV1 levels;
  levels.asof = *Timestamp::parse_canonical("2026-11-22T14:30:00.123456789Z");
  std::string text;
  EXPECT_EQ(through_text(levels, text), levels);
  EXPECT_EQ(text, R"({"asof":"2026-11-22T14:30:00.123456789Z"})");
}

TEST(GeneratedCpp, ReadsARowOfAnotherMinorVersionByName) {
  const auto later = Plan::compile(R"({"$id": "utp://quotes/2.9.0", "x-utp": {"event_type": "quotes/v2"}, "type": "object", "properties": {
      "added": {"type": "string"}, "ask": {"type": "number"}, "bid": {"type": ["number", "null"]}}, "additionalProperties": false})", "later.json");
  ASSERT_TRUE(later.has_value()) << later.error().message;
  Row row;
  Violation violation;
  ASSERT_TRUE((*later)->read(R"({"added":"x","ask":2,"bid":null})", row, violation)) << violation.message;
  const auto quote = types::QuotesV2::from_row(row);
  EXPECT_EQ(quote.ask, Decimal(2, 0));
  EXPECT_FALSE(quote.bid.has_value());
  EXPECT_FALSE(quote.venue.has_value());
}

// The number scanner once looked far before the text where a number was missing.
TEST(PlanRead, RefusesAMissingNumber) {
  const auto registry = Registry::builtin();
  Row row;
  Violation violation;
  for (const char* json : {R"({"bid":,"ask":1})", R"({"bid":})", R"({"bid":-,"ask":1})", R"({"bid":.5})", R"({"bid":)"}) {
    EXPECT_FALSE(registry->by_event_type("quotes/v2")->read(json, row, violation)) << json;
    EXPECT_EQ(violation.code, "json") << json;
  }
}

}  // namespace
}  // namespace utp
