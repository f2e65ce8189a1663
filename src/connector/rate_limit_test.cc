#include "connector/rate_limit.h"

#include <gtest/gtest.h>

#include "core/backoff.h"

namespace utp {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(TokenBucket, AllowsTheBurstAndThenTheRate) {
  TokenBucket bucket(10, 5);
  std::int64_t now = 1000;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.wait_ns(now), kSecond / 10);
  now += kSecond / 10;
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
}

TEST(TokenBucket, NeverLetsMoreThanRateAndBurstThroughInAnyWindow) {
  TokenBucket bucket(7, 3);
  int taken = 0;
  for (std::int64_t now = 0; now <= 10 * kSecond; now += kSecond / 1000) taken += bucket.take(now) ? 1 : 0;
  EXPECT_LE(taken, 7 * 10 + 3);
  EXPECT_GE(taken, 7 * 10);
}

TEST(TokenBucket, DebtIsWaitedOff) {
  TokenBucket bucket(100, 100);
  bucket.force(0, 300);
  EXPECT_EQ(bucket.wait_ns(0), kSecond * 201 / 100);
  EXPECT_FALSE(bucket.take(2 * kSecond));
  EXPECT_TRUE(bucket.take(2 * kSecond + kSecond / 100));
}

TEST(TokenBucket, ZeroIsNoLimit) {
  TokenBucket bucket(0, 1);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.take(0));
  EXPECT_EQ(bucket.wait_ns(0), 0);
}

TEST(Backoff, GrowsToItsBoundAndSpreadsOverAllOfIt) {
  Random random(7);
  for (unsigned attempt = 0; attempt < 80; ++attempt) {
    std::int64_t most = 0;
    for (int i = 0; i < 200; ++i) {
      const std::int64_t wait = full_jitter_ns(random, kSecond, 30 * kSecond, attempt);
      ASSERT_GE(wait, 0);
      most = std::max(most, wait);
    }
    const std::int64_t bound = attempt < 5 ? kSecond << attempt : 30 * kSecond;
    EXPECT_LE(most, bound) << attempt;
    EXPECT_GE(most, bound / 2) << attempt;
  }
}

}  // namespace
}  // namespace utp
