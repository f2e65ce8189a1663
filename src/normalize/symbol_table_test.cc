#include "normalize/symbol_table.h"

#include <string>

#include <gtest/gtest.h>

namespace utp {
namespace {

TEST(SymbolTable, FindsEverySymbolAfterGrowth) {
  SymbolTable table;
  EXPECT_EQ(table.find(""), SymbolTable::kNone);
  for (int i = 0; i < 5'000; ++i) {
    EXPECT_EQ(table.add("SYM" + std::to_string(i), {i}), static_cast<std::uint32_t>(i));
  }
  for (int i = 0; i < 5'000; ++i) {
    const auto index = table.find("SYM" + std::to_string(i));
    ASSERT_EQ(index, static_cast<std::uint32_t>(i));
    EXPECT_EQ(table.state(index).highest.ns, i);
  }
  EXPECT_EQ(table.find("SYM5000"), SymbolTable::kNone);
  EXPECT_EQ(table.find(""), SymbolTable::kNone);
  const auto empty = table.add("", {1});
  EXPECT_EQ(table.find({}), empty);
  const std::string longest(SymbolTable::kSymbolBytesMax, 'L');
  EXPECT_EQ(table.find(longest), SymbolTable::kNone);
  const auto index = table.add(longest, {2});
  EXPECT_EQ(table.find(longest), index);
}

}  // namespace
}  // namespace utp
