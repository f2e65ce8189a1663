// The Redis bus in a cluster, and on a server with a replica: it finds the server that has the bus, and follows it.
#include <atomic>
#include <map>
#include <set>

#include "drivers/bus/redis/redis_bus_fixture.h"
#include "drivers/bus/redis/redis_cluster.h"

namespace utp::redis_bus_test {
namespace {

class RedisBusCluster : public BusFixture {
 protected:
  static constexpr const char* kClusterStream = "{utp}:{utp.test.local.quotes.v2}:0";

  void make_cluster(int timeout_ms = 15'000) {
    cluster_ = std::make_unique<RedisCluster>(timeout_ms);
    owner_ = cluster_->owner("utp");
  }
  // A master that does not have the bus.
  int other(int i = 1) const { return (owner_ + i) % 3; }
  void open_at(int node) {
    bus_ = open(cluster_->node(node).options());
    ASSERT_NE(bus_, nullptr);
  }

  std::unique_ptr<RedisCluster> cluster_;
  int owner_ = 0;
};

TEST_F(RedisBusCluster, IsFoundFromAnyNodeAndLivesInOneSlot) {
  make_cluster();
  const int replica = cluster_->add_replica(owner_);
  for (int node = 0; node <= replica; ++node) {
    open_at(node);
    expect_published(*publisher(), node * 10, 10);
    EXPECT_EQ(numbers(receive(*subscribe(), static_cast<std::size_t>(node) * 10 + 10)), range(0, node * 10 + 10));
  }
  EXPECT_EQ(cluster_->node(owner_).command({"XLEN", kClusterStream}), ":40\r\n");
  for (const int node : {other(1), other(2)}) EXPECT_EQ(cluster_->node(node).command({"DBSIZE"}), ":0\r\n");
  // Another bus, another node.
  RedisBusOptions options = cluster_->node(owner_).options();
  while (cluster_->owner(options.prefix) == owner_) options.prefix += "x";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  expect_published(*publisher(), 0, 3);
  EXPECT_EQ(receive(*subscribe("g"), 3).size(), 3u);
  EXPECT_NE(cluster_->node(cluster_->owner(options.prefix)).command({"DBSIZE"}), ":0\r\n");
}

TEST_F(RedisBusCluster, OneBatchOneReaderAndOneGroupHaveManyTopics) {
  make_cluster();
  open_at(other());
  auto writer = publisher(Durability::kCommit);
  std::vector<std::string> topics;
  std::vector<OutMessage> messages;
  for (int i = 0; i < 20; ++i) {
    topics.push_back("utp.test.local.t" + std::to_string(i) + ".v1");
    ASSERT_TRUE(bus_->configure_topic(topics.back(), {.partitions = 2}));
  }
  for (int i = 0; i < 200; ++i) messages.push_back({topics[static_cast<std::size_t>(i) % 20], "K", "v"});
  ASSERT_TRUE(writer->publish(messages));
  SubscriptionOptions options;
  options.patterns = {"utp.test.>"};
  options.group = "g";
  auto made = bus_->subscribe(options);
  ASSERT_TRUE(made) << made.error().message;
  std::map<std::string, std::uint64_t> last;
  std::size_t count = 0;
  EXPECT_TRUE(eventually([&] {
    const auto got = (*made)->poll(1000, 1 << 20, kSecond);
    EXPECT_TRUE(got) << got.error().message;
    for (const InMessage& m : *got) {
      last[std::string(m.topic)] = m.position;
      EXPECT_TRUE((*made)->acknowledge(m.topic, m.partition, m.position));
      ++count;
    }
    return count == 200;
  }));
  EXPECT_EQ(last.size(), 20u);
  const auto stats = bus_->stats(">");
  ASSERT_TRUE(stats) << stats.error().message;
  for (const TopicStats& topic : *stats) {
    EXPECT_EQ(topic.published, 10u);
    ASSERT_EQ(topic.groups.size(), 1u);
    EXPECT_EQ(topic.groups[0].lag, 0u);
  }
  EXPECT_TRUE(bus_->trim());
  EXPECT_TRUE(bus_->delete_group("g"));
}

TEST_F(RedisBusCluster, ASlotThatMovesUnderLoadLosesNothingAndKeepsTheOrder) {
  make_cluster();
  open_at(other());
  auto writer = publisher();
  auto idle = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*idle, 0, 10);
  std::atomic<int> end{1 << 30};
  std::atomic<bool> moved{false};
  std::atomic<int> batches{0};
  std::thread load([&] {
    int next = 10;
    for (int after = 0; after < 20; next += 10) {
      publish_until_done(*writer, next, 10);
      if (HasFatalFailure()) break;
      ++batches;
      after += moved ? 1 : 0;
    }
    end = next;
  });
  std::thread mover([&] {
    const std::string slot = cluster_->slot("utp");
    // There, and back to the server where all began.
    for (const auto& [from, to] : {std::pair{owner_, other(1)}, {other(1), other(2)}, {other(2), owner_}}) {
      const int before = batches;
      eventually([&] { return batches > before + 20; });
      cluster_->move_slot(slot, from, to, [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
    }
    moved = true;
  });
  expect_in_order(*reader, [&] { return end.load(); });
  load.join();
  mover.join();
  expect_in_order(*lone, [&] { return end.load(); });
  EXPECT_EQ(lost(*reader), 0u);
  EXPECT_EQ(lost(*lone), 0u);
  publish_until_done(*idle, end, 10);
  EXPECT_EQ(group("g").lag, 10u);
  EXPECT_EQ(stats().lost, 0u) << "another server, but nothing was lost";
}

TEST_F(RedisBusCluster, AReplicaTakesOverAndWhatItDidNotHaveIsCounted) {
  make_cluster(1000);
  const int replica = cluster_->add_replica(owner_);
  open_at(other());
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  const auto before = receive(*reader, 100);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[49].position));
  ASSERT_TRUE(eventually([&] { return cluster_->has_all(owner_); }));
  // From here on the replica gets nothing.
  cluster_->node(replica).command({"CONFIG", "SET", "masterauth", "refused"});
  cluster_->node(owner_).command({"CLIENT", "KILL", "TYPE", "replica"});
  const auto slaves = [&] { return info_of(cluster_->node(owner_).command({"INFO", "replication"}), "connected_slaves:"); };
  ASSERT_TRUE(eventually([&] { return slaves() == "0"; }));
  for (int i = 10; i < 13; ++i) expect_published(*writer, i * 10, 10);
  EXPECT_EQ(receive(*lone, 130).size(), 130u);
  cluster_->node(owner_).stop(SIGKILL);
  const auto refused = publish(*writer, 1000, 5);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable) << refused.error().message;
  EXPECT_TRUE(refused.error().retryable);
  publish_until_done(*writer, 1000, 5);
  EXPECT_EQ(stats().published, 105u);
  EXPECT_EQ(stats().lost, 30u);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(1000, 5));
  const auto after = receive(*reader, 5);
  EXPECT_EQ(numbers(after), range(1000, 5));
  EXPECT_GT(after[0].position, before.back().position);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, after.back().position));
  EXPECT_EQ(group("g").lag, 0u);
  // The old master comes back as a replica, and takes over again.
  cluster_->node(owner_).start();
  ASSERT_TRUE(eventually([&] { return cluster_->has_all(replica); }));
  ASSERT_TRUE(cluster_->hand_over_to(owner_));
  publish_until_done(*writer, 1005, 5);
  EXPECT_EQ(numbers(receive(*reader, 5)), range(1005, 5));
  EXPECT_EQ(stats().lost, 30u) << "a failover that was asked for loses nothing";
}

TEST_F(RedisBusCluster, WhatWasAcknowledgedUnderLoadIsThereOrCountedAfterAFailover) {
  make_cluster(1000);
  cluster_->add_replica(owner_);
  open_at(other());
  auto writer = publisher();
  std::atomic<int> batches{0};
  std::atomic<bool> killed{false};
  std::thread load([&] {
    for (int after = 0; after < 20; after += killed ? 1 : 0) {
      publish_until_done(*writer, batches * 10, 10);
      if (HasFatalFailure()) break;
      ++batches;
    }
  });
  EXPECT_TRUE(eventually([&] { return batches > 200; }));
  cluster_->node(owner_).stop(SIGKILL);
  killed = true;
  load.join();
  // In the stream are repeated batches too, and what no answer had come for.
  const TopicStats after = stats();
  std::set<int> there;
  for (const int number : numbers(receive(*subscribe(), after.published))) there.insert(number);
  EXPECT_EQ(there.size() + after.lost, static_cast<std::size_t>(batches) * 10);
}

TEST_F(RedisBusCluster, TheNodesOfTheUrlAreNotNeededOnceOthersAreKnown) {
  make_cluster();
  open_at(other());
  auto writer = publisher();
  expect_published(*writer, 0, 10);
  cluster_->node(other()).stop(SIGKILL);
  cluster_->node(owner_).command({"CLIENT", "KILL", "TYPE", "normal"});
  publish_until_done(*writer, 10, 10);
  EXPECT_EQ(numbers(receive(*subscribe("g"), 20)), range(0, 20));
  EXPECT_TRUE(bus_->publisher({}) || bus_->publisher({})) << "the first may meet the broken connection";
}

TEST_F(RedisBusCluster, NodesThatAreAllAwayAreNamed) {
  make_cluster();
  RedisBusOptions options = cluster_->node(0).options();
  options.others = {{"127.0.0.1", cluster_->node(1).port()}, {"127.0.0.1", cluster_->node(2).port()}};
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 10);
  for (int i = 0; i < 3; ++i) cluster_->node(i).stop(SIGKILL);
  (void)publish(*writer, 10, 1);  // meets the broken connection
  const auto again = open_redis_bus(options);
  ASSERT_FALSE(again);
  for (const Error& error : {publish(*writer, 10, 1).error(), again.error()}) {
    EXPECT_EQ(error.code, Code::kUnavailable) << error.message;
    EXPECT_TRUE(error.retryable);
    for (int i = 0; i < 3; ++i) {
      EXPECT_NE(error.message.find("127.0.0.1:" + std::to_string(cluster_->node(i).port())), std::string::npos) << error.message;
    }
  }
  for (int i = 0; i < 3; ++i) cluster_->node(i).start();
  publish_until_done(*writer, 10, 5);
  EXPECT_EQ(numbers(receive(*reader, 15)), range(0, 15));
  EXPECT_EQ(stats().lost, 0u);
}

TEST_F(RedisBusCluster, SaysWhatIsWrongWithSlotsDatabasesAndNames) {
  make_cluster();
  RedisBusOptions options = cluster_->node(0).options();
  options.database = 1;
  auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kInvalidArgument) << bus.error().message;
  options.database = 0;
  options.prefix = "";
  bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kInvalidArgument) << bus.error().message;
  cluster_->node(owner_).command({"CLUSTER", "DELSLOTS", cluster_->slot("utp")});
  bus = open_redis_bus(cluster_->node(owner_).options());
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnavailable) << bus.error().message;
  EXPECT_NE(bus.error().message.find("slot " + cluster_->slot("utp")), std::string::npos) << bus.error().message;
}

TEST_F(RedisBusCluster, ASingleServerAndAClusterDoNotTakeEachOthersPlace) {
  make_cluster();
  start();
  RedisBusOptions options = server_->options();
  options.others = {{"127.0.0.1", cluster_->node(owner_).port()}};
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  auto writer = publisher();
  expect_published(*writer, 0, 1);
  server_->stop(SIGKILL);
  (void)publish(*writer, 1, 1);  // meets the broken connection
  const auto status = publish(*writer, 1, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnsupported) << status.error().message;
}

TEST_F(RedisBusCluster, AUserWithTheRightsOfTheReadmeIsEnough) {
  make_cluster();
  for (int i = 0; i < 3; ++i) {
    cluster_->node(i).command({"ACL", "SETUSER", "chamber", "on", ">word", "~{utp}:*", "-@all", "+@stream", "+@hash", "+@set",
                               "+@scripting", "+del", "+exists", "+multi", "+exec", "+info", "+client|setname", "+memory|usage", "+time",
                               "+cluster|myid", "+cluster|keyslot", "+cluster|slots"});
  }
  RedisBusOptions options = cluster_->node(other()).options();
  options.user = "chamber";
  options.password = "word";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  auto writer = publisher();
  for (int i = 0; i < 3; ++i) expect_published(*writer, i * 40, 40);
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 120).back().position));
}

// ---- without a cluster ----

using RedisBusReplica = BusFixture;

TEST_F(RedisBusReplica, OfSeveralServersTheMasterIsUsedAndItsReplicaAfterIt) {
  start({"--repl-diskless-sync-delay", "0"});
  RedisServer replica({"--replicaof", "127.0.0.1", std::to_string(server_->port()), "--repl-diskless-sync-delay", "0"});
  const auto state = [&](const std::string& name) { return info_of(server_->command({"INFO", "replication"}), name); };
  ASSERT_TRUE(eventually([&] { return state("state=") == "online"; }));
  const std::string first = "127.0.0.1:" + std::to_string(replica.port());
  const auto options = parse_redis_url("redis://" + first + ",127.0.0.1:" + std::to_string(server_->port()) + "/0");
  ASSERT_TRUE(options) << options.error().message;
  bus_ = open(*options);
  ASSERT_NE(bus_, nullptr);
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 50);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 50)[9].position));
  ASSERT_TRUE(eventually([&] { return state("master_repl_offset:") == state(",offset="); }));
  server_->stop(SIGKILL);
  EXPECT_FALSE(publish(*writer, 50, 5));
  const auto status = publish(*writer, 50, 5);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
  EXPECT_TRUE(status.error().retryable);
  replica.command({"REPLICAOF", "NO", "ONE"});
  publish_until_done(*writer, 50, 5);
  EXPECT_EQ(numbers(receive(*reader, 5)), range(50, 5));
  EXPECT_EQ(stats().published, 55u);
  EXPECT_EQ(stats().lost, 0u);
  EXPECT_EQ(group("g").lag, 45u);
}

}  // namespace
}  // namespace utp::redis_bus_test
