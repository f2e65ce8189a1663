// A private Redis Cluster for tests: three masters, each with a third of the slots.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bus/testing/bus_fixture.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::redis_bus_test {

using namespace bus_test;

// The bulk text, status or number of a raw answer; the last one where there are several.
inline std::string value_of(const std::string& answer) {
  const std::size_t end = answer.rfind("\r\n");
  if (end == std::string::npos || end == 0) return {};
  const std::size_t line = answer.rfind("\r\n", end - 1);
  return line == std::string::npos ? answer.substr(1, end - 1) : answer.substr(line + 2, end - line - 2);
}

// What follows `name` in a text of INFO.
inline std::string info_of(const std::string& info, const std::string& name) {
  std::size_t at = info.find(name);
  if (at == std::string::npos) return {};
  at += name.size();
  return info.substr(at, info.find_first_of(",\r", at) - at);
}

class RedisCluster {
 public:
  static constexpr const char* kFreePort = "free port";  // in settings: another one for each node

  // `timeout_ms`: after which a silent master is replaced. The default is longer than a busy machine makes one silent.
  explicit RedisCluster(int timeout_ms = 15'000, std::vector<std::string> settings = {}) : settings_(std::move(settings)) {
    for (const char* word : {"--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0",
                             "--cluster-replica-validity-factor", "0", "--cluster-node-timeout"}) {
      settings_.emplace_back(word);
    }
    settings_.push_back(std::to_string(timeout_ms));
    for (int i = 0; i < kMasters; ++i) {
      add_node();
      EXPECT_EQ(node(i).command({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)}), "+OK\r\n");
      const std::string first = std::to_string(kSlots * i / kMasters);
      const std::string last = std::to_string(kSlots * (i + 1) / kMasters - 1);
      EXPECT_EQ(node(i).command({"CLUSTER", "ADDSLOTSRANGE", first, last}), "+OK\r\n");
    }
    meet();
  }
  int size() const { return static_cast<int>(nodes_.size()); }
  RedisServer& node(int i) { return *nodes_[static_cast<std::size_t>(i)]; }
  std::string id(int i) { return value_of(node(i).command({"CLUSTER", "MYID"})); }
  std::string slot(const std::string& bus) { return value_of(node(0).command({"CLUSTER", "KEYSLOT", "{" + bus + "}"})); }
  // At the beginning.
  int owner(const std::string& bus) { return (std::stoi(slot(bus)) * kMasters + kMasters - 1) / kSlots; }

  // Returns when the replica has all there is.
  int add_replica(int master) {
    const int added = add_node();
    meet();
    EXPECT_TRUE(eventually([&] { return node(added).command({"CLUSTER", "REPLICATE", id(master)}) == "+OK\r\n"; }));
    EXPECT_TRUE(eventually([&] {
      for (int i = 0; i < size(); ++i) {
        if (node(i).command({"CLUSTER", "NODES"}).find("slave " + id(master)) == std::string::npos) return false;
      }
      return has_all(master);
    })) << "the replica does not follow";
    return added;
  }
  // Whether the one replica of this master has everything.
  bool has_all(int master) {
    const std::string info = node(master).command({"INFO", "replication"});
    const std::string sent = info_of(info, "master_repl_offset:");
    return info_of(info, "state=") == "online" && sent == info_of(info, ",offset=");
  }

  // A replica and its master change places, with nothing lost. Refused shortly after a failover, so it is asked for again.
  bool hand_over_to(int replica) {
    return eventually([&] {
      node(replica).command({"CLUSTER", "FAILOVER"});
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(6);  // the server gives up after 5
      while (std::chrono::steady_clock::now() < end) {
        if (node(replica).command({"ROLE"}).find("master") != std::string::npos) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      return false;
    });
  }

  // As tools do it: key by key, then the slot itself. `between` is called after each key.
  void move_slot(const std::string& slot, int from, int to, const std::function<void()>& between) {
    EXPECT_EQ(node(to).command({"CLUSTER", "SETSLOT", slot, "IMPORTING", id(from)}), "+OK\r\n");
    EXPECT_EQ(node(from).command({"CLUSTER", "SETSLOT", slot, "MIGRATING", id(to)}), "+OK\r\n");
    for (;;) {
      const std::string keys = node(from).command({"CLUSTER", "GETKEYSINSLOT", slot, "1"});
      if (keys.starts_with("*0") || ::testing::Test::HasFailure()) break;
      const std::string port = std::to_string(node(to).port());
      EXPECT_EQ(node(from).command({"MIGRATE", "127.0.0.1", port, value_of(keys), "0", "10000"}), "+OK\r\n");
      between();
    }
    for (const int i : {to, from, kMasters - to - from}) {
      EXPECT_EQ(node(i).command({"CLUSTER", "SETSLOT", slot, "NODE", id(to)}), "+OK\r\n");
    }
  }

 private:
  static constexpr int kMasters = 3;
  static constexpr int kSlots = 16384;

  int add_node() {
    for (int attempt = 0; attempt < 5; ++attempt) {  // somebody may take the second port
      const int gossip = RedisServer::free_port();
      std::vector<std::string> settings = settings_;
      for (std::string& word : settings) {
        if (word == kFreePort) word = std::to_string(RedisServer::free_port());
      }
      settings.insert(settings.end(), {"--cluster-port", std::to_string(gossip)});
      auto server = std::make_unique<RedisServer>(std::move(settings));
      if (!server->is_running()) continue;
      nodes_.push_back(std::move(server));
      gossip_.push_back(gossip);
      return size() - 1;
    }
    ADD_FAILURE() << "a node of the cluster does not start";
    std::abort();
  }
  void meet() {
    for (int i = 1; i < size(); ++i) {
      const std::string gossip = std::to_string(gossip_[static_cast<std::size_t>(i)]);
      EXPECT_EQ(node(0).command({"CLUSTER", "MEET", "127.0.0.1", std::to_string(node(i).port()), gossip}), "+OK\r\n");
    }
    EXPECT_TRUE(eventually([&] {
      for (int i = 0; i < size(); ++i) {
        const std::string info = node(i).command({"CLUSTER", "INFO"});
        if (info_of(info, "cluster_state:") != "ok" || info_of(info, "cluster_slots_assigned:") != std::to_string(kSlots) ||
            info_of(info, "cluster_known_nodes:") != std::to_string(size())) {
          return false;
        }
      }
      return true;
    })) << "the cluster does not come together";
  }

  std::vector<std::string> settings_;
  std::vector<std::unique_ptr<RedisServer>> nodes_;
  std::vector<int> gossip_;
};

}  // namespace utp::redis_bus_test
