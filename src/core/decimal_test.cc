#include "core/decimal.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"

namespace utp {
namespace {

Decimal d(std::string_view text) { return Decimal::parse(text).value(); }

TEST(Decimal, ReadsAndWritesTheShortestPlainForm) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"0", "0"},          {"-0", "0"},        {"0.00", "0"},           {"1.50", "1.5"},
      {"100", "100"},      {"100.0", "100"},   {"0.00000001", "0.00000001"}, {"-12.340", "-12.34"},
      {"1e3", "1000"},     {"1E-3", "0.001"},  {"1.5e+2", "150"},       {"9223372036854775807", "9223372036854775807"},
      {"-9223372036854775808", "-9223372036854775808"}, {"92233720368547758070", "92233720368547758070"},
      {"65083.67", "65083.67"}, {"0e9999", "0"}, {"1005.0005", "1005.0005"}};
  for (const auto& [text, expected] : cases) EXPECT_EQ(d(text).to_string(), expected) << text;
}

TEST(Decimal, RefusesWhatIsNoNumberOrDoesNotFit) {
  for (const std::string text : {"", "-", ".5", "5.", "01", "+1", "1e", "1e+", "1e+-5", "0x1", "NaN", "1 ", " 1", "1.2.3",
                                 "92233720368547758071", "1e400", "1e-400", "12345678901234567890.5"}) {
    EXPECT_FALSE(Decimal::parse(text)) << text;
  }
}

TEST(Decimal, EqualValuesAreEqualHoweverTheyAreWritten) {
  EXPECT_EQ(d("1.0"), d("1"));
  EXPECT_EQ(d("10e-1"), d("1"));
  EXPECT_EQ(d("1e2"), d("100.00"));
}

TEST(Decimal, OrdersAcrossExponents) {
  const std::vector<std::string> ascending = {"-92233720368547758070", "-1", "-0.1", "-0.00000000000000000000001", "0",
                                              "0.00000000000000000000001", "0.1", "0.11", "1", "1.000000000000000001",
                                              "9", "10", "1000000000000000000", "92233720368547758070"};
  for (std::size_t i = 0; i < ascending.size(); ++i) {
    for (std::size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(d(ascending[i]) <=> d(ascending[j]), i <=> j) << ascending[i] << " " << ascending[j];
    }
  }
}

TEST(Decimal, AgreesWithDoubleArithmeticOnRandomValues) {
  Random random(42);
  for (int i = 0; i < 20'000; ++i) {
    const Decimal a(random.between(-1'000'000, 1'000'000), -static_cast<int>(random.below(6)));
    const Decimal b(random.between(-1'000'000, 1'000'000), -static_cast<int>(random.below(6)));
    EXPECT_NEAR(Decimal::add(a, b)->to_double(), a.to_double() + b.to_double(), 1e-6);
    EXPECT_NEAR(Decimal::subtract(a, b)->to_double(), a.to_double() - b.to_double(), 1e-6);
    EXPECT_NEAR(Decimal::midpoint(a, b)->to_double(), (a.to_double() + b.to_double()) / 2, 1e-6);
    EXPECT_EQ(a < b, a.to_double() < b.to_double());
    EXPECT_EQ(d(a.to_string()), a);
  }
}

TEST(Decimal, ChecksMultiplesExactly) {
  EXPECT_TRUE(d("0.3").is_multiple_of(d("0.1")));
  EXPECT_FALSE(d("0.35").is_multiple_of(d("0.1")));
  EXPECT_TRUE(d("4.5").is_multiple_of(d("1.5")));
  EXPECT_TRUE(d("1e18").is_multiple_of(d("0.5")));
  EXPECT_FALSE(d("0.00751").is_multiple_of(d("0.0001")));
}

TEST(Decimal, TakesTheShortestDecimalOfADouble) {
  EXPECT_EQ(Decimal::from_double(0.1)->to_string(), "0.1");
  EXPECT_EQ(Decimal::from_double(1e18)->to_string(), "1000000000000000000");
  EXPECT_FALSE(Decimal::from_double(1e300));
  EXPECT_EQ(d("0.1").to_double(), 0.1);
  EXPECT_EQ(d("123456789012345678.9").to_double(), 123456789012345678.9);
}

}  // namespace
}  // namespace utp
