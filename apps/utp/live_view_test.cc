#include "apps/utp/live_view.h"

#include <gtest/gtest.h>

namespace utp::app {
namespace {

ViewState busy() {
  ViewState state;
  state.title = "utp demo · prod/local";
  state.elapsed_ns = 75'000'000'000;
  for (const char* name : {"quotes/v2", "trades/v2", "orderbook/v1"}) state.event_types.push_back({name, 12'345, 12'300, 812.4});
  for (const char* name : {"sim.index", "sim.stocks"}) state.connectors.push_back({name, "up", 10, 12'345, 0, 0, 500, 1.5});
  for (int i = 0; i < 40; ++i) state.prices.push_back({"SYM" + std::to_string(i), "1.25", "1.26", "1.255", i % 3 - 1});
  state.lag = 45;
  state.stored = 12'300;
  state.dead_letters = 2;
  return state;
}

TEST(LiveView, FitsEverySize) {
  for (int columns : {1, 20, 60, 80, 103, 104, 200}) {
    for (int rows : {1, 3, 8, 24, 60}) {
      const auto lines = render(busy(), {columns, rows}, false);
      EXPECT_LE(lines.size(), static_cast<std::size_t>(rows));
      for (const std::string& line : lines) EXPECT_LE(display_width(line), static_cast<std::size_t>(columns)) << line;
    }
  }
}

TEST(LiveView, KeepsTotalsWhenRowsAreFew) {
  std::string all;
  for (const std::string& line : render(busy(), {80, 10}, false)) all += line + "\n";
  EXPECT_NE(all.find("lag 45"), std::string::npos) << all;
  EXPECT_NE(all.find("dead   2 letters"), std::string::npos) << all;
}

TEST(LiveView, PutsPricesBesideTheTablesOnAWideTerminal) {
  const auto lines = render(busy(), {140, 30}, false);
  EXPECT_NE(lines[2].find("EVENT TYPE"), std::string::npos);
  EXPECT_NE(lines[2].find("SYMBOL"), std::string::npos);
}

TEST(LiveView, UsesNoEscapesWithoutColor) {
  for (const std::string& line : render(busy(), {140, 30}, false)) EXPECT_EQ(line.find('\033'), std::string::npos);
}

TEST(LiveView, SummarizesInOneLine) {
  EXPECT_EQ(summary_line(busy()), "01:15  24,690 events (1,000 per s)  stored 12,300  lag 45  dead letters 2");
}

TEST(Console, WritesCountsBytesAndDurationsForPeople) {
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1'234'567), "1,234,567");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(3'565'158), "3.4 MiB");
  EXPECT_EQ(human_duration(12'000), "12 µs");
  EXPECT_EQ(human_duration(90'000'000'000), "90.0 s");
}

TEST(Console, ClipsByCharactersNotBytes) {
  EXPECT_EQ(clipped("añb", 3), "añb");
  EXPECT_EQ(clipped("añbc", 3), "añ…");
  EXPECT_EQ(clipped("abc", 0), "");
}

TEST(Console, AlignsTables) {
  Table table({"name", "rows"});
  table.add({"quotes/v2", "1,200"});
  table.add({"news", "3"});
  EXPECT_EQ(table.text(false), "name        rows\nquotes/v2  1,200\nnews           3\n");
}

}  // namespace
}  // namespace utp::app
