#include "normalize/ordinals.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace utp {
namespace {

TEST(Ordinals, CountsEachKeyByItself) {
  Ordinals ordinals(1'000);
  EXPECT_EQ(ordinals.next({1, 2, 3}), 0u);
  EXPECT_EQ(ordinals.next({1, 2, 3}), 1u);
  EXPECT_EQ(ordinals.next({0, 2, 3}), 0u);
  EXPECT_EQ(ordinals.next({1, 3, 3}), 0u);
  EXPECT_EQ(ordinals.next({1, 2, 4}), 0u);
  EXPECT_EQ(ordinals.next({1, 2, 3}), 2u);
}

TEST(Ordinals, CountsAnewAfterClear) {
  Ordinals ordinals(1'000);
  ordinals.next({1, 2, 3});
  ordinals.clear();
  EXPECT_EQ(ordinals.next({1, 2, 3}), 0u);
  EXPECT_EQ(ordinals.next({1, 2, 3}), 1u);
}

TEST(Ordinals, RemembersTheRecentAndForgetsTheOld) {
  const std::uint64_t seed = 3;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  Ordinals ordinals(8'192);
  std::vector<Ordinals::Key> keys;
  for (int i = 0; i < 100'000; ++i) {
    keys.push_back({random.below(4), static_cast<std::int64_t>(random.below(1'000)), random.next()});
    ASSERT_EQ(ordinals.next(keys.back()), 0u);
    // What was counted a little while ago is still known.
    if (i >= 500 && i % 7 == 0) {
      ASSERT_EQ(ordinals.next(keys[keys.size() - 500]), 1u);
    }
  }
  std::size_t remembered = 0;
  for (std::size_t i = 0; i < 10'000; ++i) remembered += ordinals.next(keys[i]) > 0 ? 1 : 0;
  EXPECT_EQ(remembered, 0u);
}

TEST(Ordinals, KnowsWhatWasRecorded) {
  Ordinals ordinals(1'024);
  for (std::int64_t i = 0; i < 10'000; ++i) ordinals.record({1, i, 7}, i % 100 == 0 ? 5 : 1);
  for (std::int64_t i = 10'000 - 300; i < 10'000; ++i) EXPECT_EQ(ordinals.next({1, i, 7}), i % 100 == 0 ? 5u : 1u) << i;
  for (std::int64_t i = 1; i < 100; ++i) EXPECT_EQ(ordinals.next({1, i, 7}), 0u) << i;
  ordinals.record({2, 1, 7}, 1);
  ordinals.clear();
  EXPECT_EQ(ordinals.next({2, 1, 7}), 0u);
}

TEST(Ordinals, CountsManyOfOneKey) {
  Ordinals ordinals(1);
  for (std::uint64_t i = 0; i < 100'000; ++i) ASSERT_EQ(ordinals.next({1, 2, 3}), i);
}

}  // namespace
}  // namespace utp
