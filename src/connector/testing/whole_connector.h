// WholeConnector: a connector as the host runs it, against a local server that speaks its venue's protocol, onto a bus in memory.
// For tests of connectors with a websocket.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "connector/host.h"
#include "bus/testing/memory_bus.h"
#include "connector/testing/websocket_peer.h"

namespace utp::testing {

// Of a venue's message: what stands behind the first `before`, up to the next `after`; "" when `before` is nowhere.
inline std::string between(const std::string& text, const std::string& before, char after) {
  const std::size_t at = text.find(before);
  if (at == std::string::npos) return "";
  const std::size_t from = at + before.size();
  return text.substr(from, text.find(after, from) - from);
}

class WholeConnector {
 public:
  // Waits between connections are short, limits of rate are off; `options` has the manifest to change before start().
  WholeConnector(const std::string& folder, BuiltinConnector builtin, PeerScript venue)
      : registry_(*Registry::builtin()), builtin_(std::move(builtin)), peer_(std::move(venue)) {
    auto manifest = load_manifest(folder, registry_);
    EXPECT_TRUE(manifest) << manifest.error().message;
    if (manifest) options.manifest = std::move(*manifest);
    options.realm = "r";
    options.region = "x";
    options.endpoint = peer_.url("/");
    options.manifest.link.backoff_min_ns = 1'000'000;
    options.manifest.link.backoff_max_ns = 20'000'000;
    options.manifest.rates.connections_per_minute = 0;
    options.manifest.rates.messages_per_second = 0;
  }
  ~WholeConnector() { host_.reset(); }  // before the peer

  InstanceOptions options;

  void start() {
    auto made = ConnectorInstance::create(options, &builtin_, registry_, clock_, bus_);
    ASSERT_TRUE(made) << made.error().message;
    host_ = std::move(*made);
    host_->start();
  }
  // The limit only ends a test that has failed.
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  // Every wanted stream has had data.
  bool confirmed() const {
    return eventually([&] { return host_->status().confirmed == host_->status().wanted; });
  }
  // Messages on a topic ("trades.v2") that contain both texts.
  std::size_t count(const std::string& topic, std::string_view part = "", std::string_view other = "") const {
    std::size_t n = 0;
    for (const auto& m : bus_.messages("utp.r.x." + topic)) {
      n += m.value.find(part) != std::string::npos && m.value.find(other) != std::string::npos ? 1 : 0;
    }
    return n;
  }
  // What the venue was told on its n-th connection.
  std::vector<std::string> told(std::uint32_t connection) const {
    std::vector<std::string> texts;
    for (auto& [number, text] : peer_.received()) {
      if (number == connection) texts.push_back(text);
    }
    return texts;
  }
  std::size_t connections() const { return peer_.connections().size(); }
  WebSocketPeer& peer() { return peer_; }
  ConnectorInstance& host() { return *host_; }
  std::string state() const { return to_json(host_->status()); }

 private:
  Registry registry_;
  SystemClock clock_;
  BuiltinConnector builtin_;
  MemoryBus bus_;
  WebSocketPeer peer_;
  std::unique_ptr<ConnectorInstance> host_;
};

}  // namespace utp::testing
