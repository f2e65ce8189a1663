#include "connector/testing/live_case.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "bus/testing/memory_bus.h"
#include "connector/testing/websocket_peer.h"
#include "connector/websocket.h"

namespace utp::testing {
namespace {

using Outcome = ContractResult::Outcome;

// A connector at work against a server that plays a case's frames as soon as it is spoken to.
class LiveConnector {
 public:
  LiveConnector(InstanceOptions options, const ContractOptions& kit, const std::vector<ContractCase>& cases)
      : options_(std::move(options)), kit_(kit) {
    const auto fullest = std::ranges::max_element(cases, {}, [](const ContractCase& c) { return c.expected.size(); });
    if (fullest != cases.end()) case_ = &*fullest;
    options_.realm = "contract";
    options_.region = "local";
    options_.manifest.link.backoff_min_ns = 1'000'000;
    options_.manifest.link.backoff_max_ns = 50'000'000;
    options_.manifest.rates.connections_per_minute = 0;
    for (const Manifest::Secret& secret : options_.manifest.secrets) options_.secrets[secret.name] = "contract";
  }
  InstanceOptions& options() { return options_; }
  bool is_exec() const { return options_.manifest.entry == Manifest::Entry::kExec; }

  // Why it cannot be run, "" when it can.
  std::string skip_reason() const {
    if (is_exec()) return "";
    if (kit_.builtin == nullptr || !kit_.builtin->collector) return "the connector has no collector";
    if (!options_.manifest.endpoint.starts_with("ws")) return "the manifest's endpoint is no websocket";
    if (case_ == nullptr || case_->expected.empty()) return "no case in tests/ has frames to play";
    return "";
  }

  Status start() {
    if (!is_exec()) {
      if (case_->has_wanted) want(case_->wanted);
      PeerScript script;
      script.on_message = [this](PeerConnection& c, std::string_view) { play(c); };
      script.on_get = [this](std::string_view) { return answer(); };
      peer_ = std::make_unique<WebSocketPeer>(std::move(script));
      options_.endpoint = peer_->url("/");
    }
    UTP_TRY(host_, ConnectorInstance::create(options_, kit_.builtin, *kit_.registry, *kit_.clock, bus_));
    started_ns_ = kit_.clock->monotonic_ns();
    host_->start();
    return {};
  }

  template <class Condition>
  bool eventually(Condition condition) const {
    const std::int64_t until = kit_.clock->monotonic_ns() + kit_.patience_ns;
    while (!condition()) {
      if (kit_.clock->monotonic_ns() > until || host_->status().state == InstanceState::kDown) return condition();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  std::size_t events() const {
    std::size_t count = 0;
    for (const MemoryBus::Message& m : bus_.messages()) {
      count += m.topic.find(".system.") == std::string::npos && !m.topic.ends_with(".dlq") ? 1 : 0;
    }
    return count;
  }
  std::size_t on_topic(const std::string& name) const { return bus_.messages("utp.contract.local." + name).size(); }
  std::string state() const {
    const InstanceStatus s = host_->status();
    return "state " + std::string(to_string(s.state)) + (s.detail.empty() ? "" : " (" + s.detail + ")") + ", " +
           std::to_string(s.counts.frames) + " frames, " + std::to_string(s.counts.events_total) + " events, " +
           std::to_string(s.counts.rejects) + " rejects";
  }
  ConnectorInstance& host() { return *host_; }
  WebSocketPeer* peer() { return peer_.get(); }
  std::int64_t elapsed_ns() const { return kit_.clock->monotonic_ns() - started_ns_; }

 private:
  void want(const std::vector<WantedStream>& streams) {
    for (const WantedStream& s : streams) {
      if (std::ranges::find(options_.channels, s.channel) == options_.channels.end()) options_.channels.push_back(s.channel);
      if (!s.symbol.empty() && std::ranges::find(options_.symbols, s.symbol) == options_.symbols.end()) options_.symbols.push_back(s.symbol);
    }
  }
  void play(PeerConnection& connection) {
    if (std::ranges::find(played_, connection.number()) != played_.end()) return;
    played_.push_back(connection.number());
    for (const OwnedFrame& frame : case_->frames) {
      if (frame.kind == FrameKind::kWs) connection.send(frame.bytes);
    }
  }
  std::pair<unsigned, std::string> answer() {
    std::size_t skip = answered_;
    for (const OwnedFrame& frame : case_->frames) {
      if (frame.kind != FrameKind::kHttp || skip-- > 0) continue;
      ++answered_;
      return {200, frame.bytes};
    }
    return {404, ""};
  }

  InstanceOptions options_;
  const ContractOptions& kit_;
  const ContractCase* case_ = nullptr;
  std::vector<std::uint32_t> played_;  // of the peer's thread
  std::size_t answered_ = 0;
  std::unique_ptr<WebSocketPeer> peer_;
  MemoryBus bus_;
  std::unique_ptr<ConnectorInstance> host_;
  std::int64_t started_ns_ = 0;
};

LiveOutcome failed(std::string detail) { return {Outcome::kFailed, std::move(detail)}; }

}  // namespace

LiveOutcome connects_and_subscribes(const InstanceOptions& options, const ContractOptions& kit, const std::vector<ContractCase>& cases) {
  LiveConnector live(options, kit, cases);
  if (const std::string reason = live.skip_reason(); !reason.empty()) return {Outcome::kSkipped, reason};
  if (auto status = live.start(); !status) return failed(status.error().message);
  if (!live.eventually([&] { return live.events() > 0; })) return failed("no event on the bus; " + live.state());
  const std::size_t sent = live.peer() == nullptr ? 0 : live.peer()->received().size();
  if (live.is_exec() && live.host().status().counts.rejects > 0) return failed("lines that are no events; " + live.state());
  return {Outcome::kPassed, std::to_string(live.events()) + " events" + (live.is_exec() ? "" : ", " + std::to_string(sent) + " messages sent")};
}

LiveOutcome reconnects_and_subscribes_anew(const InstanceOptions& options, const ContractOptions& kit,
                                           const std::vector<ContractCase>& cases) {
  LiveConnector live(options, kit, cases);
  if (const std::string reason = live.skip_reason(); !reason.empty()) return {Outcome::kSkipped, reason};
  if (auto status = live.start(); !status) return failed(status.error().message);
  if (!live.eventually([&] { return live.events() > 0; })) return failed("no event on the bus; " + live.state());
  const std::size_t before = live.events();
  if (live.is_exec()) {
    live.host().reconnect(0, "contract case");
    if (!live.eventually([&] { return live.on_topic("system.reconnect.v1") > 0 && live.events() > before; })) {
      return failed("no event after a restart; " + live.state());
    }
    return {Outcome::kPassed, "restarted, events go on"};
  }
  // By content: the same number of other messages would subscribe something else.
  const auto first = live.peer()->connections();
  const auto told = [&](bool before_the_cut) {
    std::multiset<std::string> messages;
    for (auto& [connection, text] : live.peer()->received()) {
      if ((connection < first.size()) == before_the_cut) messages.insert(std::move(text));
    }
    return messages;
  };
  const auto sent_before = told(true);
  const auto missing = [&] {
    const auto sent_again = told(false);
    for (const std::string& text : sent_before) {
      if (sent_again.count(text) < sent_before.count(text)) return text;
    }
    return std::string();
  };
  for (const auto& connection : first) connection->cut();
  const bool again = live.eventually([&] { return live.on_topic("system.reconnect.v1") > 0 && missing().empty() && live.events() > before; });
  if (!again) {
    const std::string text = missing();
    return failed("after a cut: " + std::to_string(live.on_topic("system.reconnect.v1")) + " reconnect events, " +
                  (text.empty() ? "" : "not sent again: " + text.substr(0, 500) + ", ") + std::to_string(live.events() - before) +
                  " new events; " + live.state());
  }
  return {Outcome::kPassed, std::to_string(sent_before.size()) + " messages sent again"};
}

LiveOutcome keeps_its_limits(const InstanceOptions& options, const ContractOptions& kit, const std::vector<ContractCase>& cases) {
  LiveConnector live(options, kit, cases);
  if (live.is_exec()) return {Outcome::kSkipped, "a program keeps its venue's limits by itself"};
  if (const std::string reason = live.skip_reason(); !reason.empty()) return {Outcome::kSkipped, reason};
  constexpr double kRate = 5;  // a burst of as many, then one every 200 ms
  live.options().manifest.rates.subscriptions_per_connection = 2;
  live.options().manifest.rates.messages_per_second = kRate;
  live.options().symbols = {"AAA-USD", "BBB-USD", "CCC-USD", "DDD-USD", "EEE-USD"};
  const auto wanted = live.options().manifest.wanted({}, live.options().symbols);
  if (!wanted) return failed(wanted.error().message);
  if (auto status = live.start(); !status) return failed(status.error().message);
  const std::size_t connections = (wanted->size() + 1) / 2;
  if (!live.eventually([&] { return live.peer()->connections().size() >= connections; })) {
    return failed(std::to_string(wanted->size()) + " streams, 2 to a connection: expected " + std::to_string(connections) +
                  " connections, found " + std::to_string(live.peer()->connections().size()));
  }
  live.eventually([&] { return live.peer()->received().size() >= connections; });
  // The count first: what arrives in between cannot make it look too fast.
  const auto received = static_cast<double>(live.peer()->received().size());
  const double seconds = static_cast<double>(live.elapsed_ns()) * 1e-9;
  if (received > kRate + seconds * kRate + 1) {
    return failed(std::to_string(received) + " messages in " + std::to_string(seconds) + " s, with a limit of 5 a second");
  }
  return {Outcome::kPassed, std::to_string(connections) + " connections for " + std::to_string(wanted->size()) + " streams"};
}

}  // namespace utp::testing
