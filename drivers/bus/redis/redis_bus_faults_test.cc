// The Redis bus while its server dies, forgets its tail, hangs and comes back.
#include "bus/server_suite.h"
#include "drivers/bus/redis/redis_bus_fixture.h"

namespace utp::redis_bus_test {
namespace {

class RedisBusFaults : public BusFixture {};

class Harness final : public HarnessOn<RedisServer> {
  void keep_newest(std::uint64_t count) override { server_.command({"XTRIM", kStream, "MAXLEN", std::to_string(count)}); }
};

INSTANTIATE_TEST_SUITE_P(Redis, BusOnServer, ::testing::Values(on_server<Harness>("Redis", RedisServer::missing())), driver_name);

TEST_F(RedisBusFaults, ALostTailIsCountedOnceAndItsPositionsDoNotComeAgain) {
  start({"--appendfsync", "everysec"});
  auto writer = publisher();
  auto other = publisher();
  auto reader = subscribe();
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  for (int i = 10; i < 15; ++i) expect_published(*other, i * 10, 10);
  const auto before = receive(*reader, 150);
  server_->lose_tail(4000);
  const std::uint64_t kept = stats().published;
  ASSERT_LT(kept, 150u);
  ASSERT_GT(kept, 0u);
  EXPECT_EQ(kept % 10, 0u) << "a publish is kept whole or not at all";
  publish_until_done(*writer, 1000, 5);
  publish_until_done(*other, 1005, 5);
  const TopicStats after = stats();
  EXPECT_EQ(after.published, kept + 10);
  EXPECT_EQ(after.lost, 150 - kept);
  expect_published(*writer, 1010, 1);
  EXPECT_EQ(stats().lost, 150 - kept);
  const auto got = receive(*reader, 11);
  EXPECT_EQ(numbers(got), range(1000, 11));
  EXPECT_GT(got[0].position, before.back().position);
}

TEST_F(RedisBusFaults, SyncCountsALostTailToo) {
  start({"--appendfsync", "everysec"});
  auto writer = publisher();
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  server_->lose_tail(3000);
  const std::uint64_t kept = stats().published;
  EXPECT_TRUE(writer->sync() || writer->sync()) << "the first may meet the broken connection";
  EXPECT_EQ(stats().lost, 100 - kept);
}

}  // namespace
}  // namespace utp::redis_bus_test
