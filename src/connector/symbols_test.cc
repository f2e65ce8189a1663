#include <gtest/gtest.h>

#include "connector/mapper.h"

namespace utp {
namespace {

TEST(SymbolMap, LeavesCanonicalNamesAlone) {
  SymbolMap map;
  EXPECT_EQ(map.canonical("BTC-USD"), "BTC-USD");
  EXPECT_EQ(map.venue("BIT-28JUL28-CDE"), "BIT-28JUL28-CDE");
}

TEST(SymbolMap, AppliesSeparatorAndAssetsBothWays) {
  SymbolMap map;
  map.set_separator("/");
  map.add_asset("XBT", "BTC");
  map.add_asset("XDG", "DOGE");
  EXPECT_EQ(map.canonical("XBT/USD"), "BTC-USD");
  EXPECT_EQ(map.canonical("ETH/XBT"), "ETH-BTC");
  EXPECT_EQ(map.canonical("XDG/USD"), "DOGE-USD");
  EXPECT_EQ(map.venue("BTC-USD"), "XBT/USD");
  EXPECT_EQ(map.venue("ETH-BTC"), "ETH/XBT");
  EXPECT_EQ(map.canonical("XBTC/USD"), "XBTC-USD");  // an asset's name is the whole piece
}

TEST(SymbolMap, PrefersExceptionsToRules) {
  SymbolMap map;
  map.set_separator("/");
  map.add("SPX", "^SPX/IDX");
  EXPECT_EQ(map.canonical("^SPX/IDX"), "SPX");
  EXPECT_EQ(map.venue("SPX"), "^SPX/IDX");
}

TEST(SymbolMap, TakesNamesWithoutSeparator) {
  SymbolMap map;
  map.set_separator("");
  map.add("BTC-USDT", "BTCUSDT");
  EXPECT_EQ(map.canonical("BTCUSDT"), "BTC-USDT");
  EXPECT_EQ(map.canonical("AAPL"), "AAPL");
  EXPECT_EQ(map.venue("BTC-USDT"), "BTCUSDT");
}

TEST(SymbolMap, ViewsStayValidWhileMoreIsAddedAndAfterAMove) {
  SymbolMap map;
  map.set_separator("/");
  const std::string_view first = map.canonical("AAA/USD");
  for (int i = 0; i < 5000; ++i) map.canonical("S" + std::to_string(i) + "/USD");
  SymbolMap moved = std::move(map);
  EXPECT_EQ(first, "AAA-USD");
  EXPECT_EQ(moved.canonical("AAA/USD").data(), first.data());
}

TEST(SymbolMap, RemembersABoundedNumberOfNamesAndTranslatesTheRestAllTheSame) {
  SymbolMap map;
  map.set_separator("/");
  map.add("SPX", "^SPX/IDX");
  const std::string_view first = map.canonical("AAA/USD");
  for (std::size_t i = 0; i < SymbolMap::kNamesMax; ++i) map.canonical("S" + std::to_string(i) + "/USD");
  const std::string_view past = map.canonical("ONE/USD");
  EXPECT_EQ(past, "ONE-USD");
  EXPECT_EQ(map.canonical("TWO/USD").data(), past.data()) << "nothing is remembered past the bound";
  EXPECT_EQ(map.canonical("^SPX/IDX"), "SPX");
  EXPECT_EQ(map.canonical("AAA/USD").data(), first.data());
}

}  // namespace
}  // namespace utp
