#include "connectors/sim/sim_generator.h"

#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "connectors/sim/sim_message.h"
#include "core/clock.h"

namespace utp::sim {
namespace {

struct Sent {
  FrameKind kind;
  Timestamp time;
  std::string bytes;
  friend bool operator==(const Sent&, const Sent&) = default;
};

Settings flat(std::uint64_t frames) {
  Settings settings;
  settings.flat = true;
  settings.frames = frames;
  return settings;
}

std::vector<Sent> run(const Settings& settings, std::uint64_t seed, const std::vector<WantedStream>& wanted = {}) {
  auto generator = Generator::make(settings, seed, wanted);
  EXPECT_TRUE(generator) << generator.error().message;
  std::vector<Sent> sent;
  Frame frame;
  while (generator->next(frame)) sent.push_back({frame.kind, frame.receive_time, std::string(frame.bytes)});
  return sent;
}

// The numbers "n" of the messages, in order.
std::vector<std::uint64_t> numbers(const std::vector<Sent>& sent) {
  std::vector<std::uint64_t> found;
  for (const auto& s : sent) {
    if (s.kind == FrameKind::kWs && s.bytes.starts_with("{\"n\":")) found.push_back(std::stoull(s.bytes.substr(5)));
  }
  return found;
}

TEST(SimGenerator, GivesTheSameFramesForTheSameSeed) {
  const auto first = run(flat(5000), 7), second = run(flat(5000), 7), other = run(flat(5000), 8);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, other);
}

TEST(SimGenerator, GivesTheSameFramesForTheSameTimesWhenLive) {
  const auto live = [] {
    auto generator = Generator::make({}, 5, {});
    ManualClock clock(Timestamp::from_seconds(1'800'000'000));
    std::vector<Sent> sent;
    Frame frame;
    for (int i = 0; i < 2000; ++i) {
      clock.advance(1'234'567);
      EXPECT_TRUE(generator->next(frame, clock.now()));
      EXPECT_EQ(frame.receive_time, clock.now());
      sent.push_back({frame.kind, frame.receive_time, std::string(frame.bytes)});
    }
    return sent;
  };
  EXPECT_EQ(live(), live());
}

TEST(SimGenerator, NumbersEveryMessageOfAConnectionWithoutGap) {
  const auto found = numbers(run(flat(20'000), 1));
  ASSERT_EQ(found.size(), 20'000u);
  for (std::size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], i);
}

TEST(SimGenerator, NeverGoesBackInTime) {
  Settings settings = flat(20'000);
  settings.fault_chance[static_cast<int>(Fault::kReorder)] = 0.05;
  settings.fault_chance[static_cast<int>(Fault::kStall)] = 0.001;
  const auto sent = run(settings, 2);
  for (std::size_t i = 1; i < sent.size(); ++i) ASSERT_GE(sent[i].time, sent[i - 1].time);
}

TEST(SimGenerator, OpensWithSubscriptionsSnapshotsAndTheWholeChain) {
  const auto sent = run(flat(2000), 3);
  EXPECT_EQ(sent[0].kind, FrameKind::kOpen);
  EXPECT_EQ(sent[1].kind, FrameKind::kSent);
  MessageReader reader;
  Message m;
  FrameError error;
  std::map<std::string, int> snapshots;
  std::set<std::string> contracts;
  for (const auto& s : sent) {
    if (s.kind != FrameKind::kWs) continue;
    ASSERT_TRUE(reader.read(s.bytes, m, error)) << error.message << s.bytes;
    if (m.channel == "book" && m.kind == "snapshot") {
      ++snapshots[std::string(m.symbol)];
      EXPECT_EQ(m.bids.size(), 25u);
      EXPECT_EQ(m.asks.size(), 25u);
    }
    if (m.channel == "option") contracts.insert(std::string(m.symbol));
  }
  EXPECT_EQ(snapshots, (std::map<std::string, int>{{"AAPL", 1}, {"MSFT", 1}, {"TSLA", 1}, {"BTC-USD", 1}, {"ETH-USD", 1}}));
  EXPECT_EQ(contracts.size(), 4u * 41 * 2);
}

TEST(SimGenerator, SendsOnlyWhatIsWanted) {
  MessageReader reader;
  Message m;
  FrameError error;
  std::map<std::string, int> seen;
  for (const auto& s : run(flat(500), 4, {{"trades", "NVDA"}, {"trades", "SPX"}, {"heartbeat", ""}})) {
    if (s.kind != FrameKind::kWs) continue;
    ASSERT_TRUE(reader.read(s.bytes, m, error));
    ++seen[std::string(m.channel) + " " + std::string(m.symbol) + (m.available ? "" : " not available")];
  }
  EXPECT_EQ(seen["hello "], 1);
  EXPECT_EQ(seen["subscribed SPX not available"], 1);  // an index has no trades
  EXPECT_EQ(seen["subscribed NVDA"], 1);
  EXPECT_GT(seen["trade NVDA"], 300);
  EXPECT_GT(seen["heartbeat "], 3);
  EXPECT_EQ(seen["subscribed "], 1);
  EXPECT_EQ(seen.size(), 6u);
}

TEST(SimGenerator, RefusesWhatItDoesNotHave) {
  EXPECT_NE(Generator::make({}, 1, {{"candles", "AAPL"}}).error().message.find("quotes, trades, books"), std::string::npos);
  EXPECT_FALSE(Generator::make({}, 1, {{"trades", ""}}));
  EXPECT_FALSE(Generator::make({}, 1, {{"trades", "A\"B"}}));
  Settings silent;
  silent.rates[1] = 0;
  EXPECT_FALSE(Generator::make(silent, 1, {{"trades", "AAPL"}}));
}

TEST(SimGenerator, KeepsPricesTogetherAndNearTheirBase) {
  MessageReader reader;
  Message m;
  FrameError error;
  std::map<std::string, std::vector<double>> prices;
  std::map<std::string, std::vector<double>> sampled;  // the last price of each ten minutes
  Settings settings = flat(200'000);
  settings.rates[0] = 1;  // a quote a second, so that there is time to move
  settings.rates[1] = settings.rates[2] = settings.rates[3] = 0;
  for (const auto& s : run(settings, 11)) {
    if (s.kind != FrameKind::kWs) continue;
    ASSERT_TRUE(reader.read(s.bytes, m, error));
    if (m.channel == "quote") {
      ASSERT_LT(*m.bid, *m.ask);
      prices[std::string(m.symbol)].push_back(m.bid->to_double());
      auto& samples = sampled[std::string(m.symbol)];
      samples.resize(static_cast<std::size_t>((*m.ts - settings.start.ns) / 600'000'000'000) + 1);
      samples.back() = m.bid->to_double();
    }
  }
  ASSERT_EQ(prices.size(), 6u);
  // Returns of the index and of a stock go together.
  const auto &spx = sampled["SPX"], &msft = sampled["MSFT"];
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 1; i < std::min(spx.size(), msft.size()); ++i) {
    const double x = std::log(spx[i] / spx[i - 1]), y = std::log(msft[i] / msft[i - 1]);
    xy += x * y;
    xx += x * x;
    yy += y * y;
  }
  EXPECT_GT(xy / std::sqrt(xx * yy), 0.3);
  for (const auto& [symbol, list] : prices) {
    const double base = instrument(symbol).base;
    for (const double p : list) ASSERT_TRUE(p > base * 0.7 && p < base * 1.4) << symbol << ' ' << p;
    EXPECT_GT(std::set<double>(list.begin(), list.end()).size(), 100u) << symbol;
  }
}

TEST(SimGenerator, PricesOptionsConsistently) {
  MessageReader reader;
  Message m;
  FrameError error;
  std::map<std::pair<std::string, double>, std::map<std::string, Message>> pairs;
  double gamma_near = 0, gamma_far = 0;
  std::int64_t interest = 0;
  for (const auto& s : run(flat(500), 12)) {
    if (s.kind != FrameKind::kWs) continue;
    ASSERT_TRUE(reader.read(s.bytes, m, error));
    if (m.channel != "option") continue;
    ASSERT_GE(m.iv->to_double(), 0.05);
    ASSERT_GE(m.gamma->to_double(), 0);
    ASSERT_LE(*m.bid, *m.ask);
    ASSERT_EQ(m.right == "C", m.delta->to_double() >= 0);
    interest += *m.open_interest->to_int64();
    const double strike = m.strike->to_double(), spot = m.spot->to_double();
    if (std::abs(strike / spot - 1) < 0.003) gamma_near = std::max(gamma_near, m.gamma->to_double());
    if (std::abs(strike / spot - 1) > 0.06) gamma_far = std::max(gamma_far, m.gamma->to_double());
    Message copy;
    copy.mark = m.mark;
    copy.delta = m.delta;
    copy.gamma = m.gamma;
    copy.spot = m.spot;
    pairs[{std::string(m.expiration), strike}].try_emplace(std::string(m.right), copy);  // as the chain was opened
  }
  EXPECT_GT(gamma_near, 3 * gamma_far);
  EXPECT_GT(interest, 100'000);
  ASSERT_EQ(pairs.size(), 4u * 41);
  for (const auto& [key, pair] : pairs) {
    const Message &call = pair.at("C"), &put = pair.at("P");
    EXPECT_NEAR(call.gamma->to_double(), put.gamma->to_double(), 1e-6);
    EXPECT_NEAR(call.delta->to_double() - put.delta->to_double(), 1, 0.01);
    // Put-call parity, up to a month of interest.
    EXPECT_NEAR(call.mark->to_double() - put.mark->to_double(), call.spot->to_double() - key.second, 25);
  }
}

TEST(SimGenerator, InjectsFaultsAtTheFramesNamed) {
  Settings settings = flat(600);
  settings.rates[3] = 0;
  const std::vector<WantedStream> wanted = {{"trades", "AAPL"}};
  settings.planned = {{100, Fault::kGap}, {200, Fault::kDuplicate}, {300, Fault::kReorder}, {400, Fault::kMalformed}, {500, Fault::kDisconnect}};
  settings.gap_frames = 3;
  const auto sent = run(settings, 13, wanted);
  const auto n = numbers(sent);
  const auto at = [&](std::uint64_t number) { return std::find(n.begin(), n.end(), number); };
  EXPECT_EQ(at(100), n.end());
  EXPECT_EQ(at(102), n.end());
  EXPECT_NE(at(103), n.end());
  EXPECT_EQ(std::count(n.begin(), n.end(), 200u), 2);
  EXPECT_EQ(*(at(300) - 1), 301u);
  EXPECT_EQ(*(at(300) + 1), 302u);
  const auto closed = std::find_if(sent.begin(), sent.end(), [](const Sent& s) { return s.kind == FrameKind::kClose; });
  ASSERT_NE(closed, sent.end());
  EXPECT_EQ((closed + 1)->kind, FrameKind::kOpen);
  EXPECT_TRUE((closed + 3)->bytes.starts_with("{\"n\":0,\"ch\":\"hello\"")) << (closed + 3)->bytes;
  auto plain = settings;
  plain.planned.clear();
  EXPECT_NE(run(plain, 13, wanted), sent);
}

TEST(SimGenerator, StallsByVirtualTime) {
  Settings settings = flat(200);
  settings.planned = {{150, Fault::kStall}};
  settings.stall_ns = 30'000'000'000;
  const auto sent = run(settings, 14, {{"trades", "AAPL"}});
  std::int64_t longest = 0;
  for (std::size_t i = 1; i < sent.size(); ++i) longest = std::max(longest, sent[i].time - sent[i - 1].time);
  EXPECT_GE(longest, 30'000'000'000);
}

TEST(SimGenerator, AnswersASnapshotCommand) {
  auto generator = Generator::make(flat(0), 15, {{"books", "AAPL"}, {"books", "MSFT"}});
  Frame frame;
  while (generator->opening()) ASSERT_TRUE(generator->next(frame));
  generator->carry_out({Command::Kind::kSend, 0, "", "{\"op\":\"snapshot\",\"sym\":\"MSFT\"}"});
  generator->carry_out({Command::Kind::kSend, 0, "", "{\"op\":\"snapshot\",\"sym\":\"NONE\"}"});
  generator->carry_out({Command::Kind::kSend, 0, "", "nonsense"});
  ASSERT_TRUE(generator->next(frame));
  EXPECT_NE(frame.bytes.find("\"sym\":\"MSFT\",\"kind\":\"snapshot\""), std::string_view::npos) << frame.bytes;
  ASSERT_TRUE(generator->next(frame));
  EXPECT_NE(frame.bytes.find("\"kind\":\"update\""), std::string_view::npos) << frame.bytes;
}

TEST(SimGenerator, ReconnectsOnCommand) {
  auto generator = Generator::make(flat(0), 16, {});
  Frame frame;
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(generator->next(frame));
  generator->carry_out({Command::Kind::kReconnect, 0, "", "because"});
  ASSERT_TRUE(generator->next(frame));
  EXPECT_EQ(frame.kind, FrameKind::kClose);
  EXPECT_EQ(frame.bytes, "because");
  ASSERT_TRUE(generator->next(frame));
  EXPECT_EQ(frame.kind, FrameKind::kOpen);
}

TEST(SimSettings, ReadsItsObject) {
  const auto settings = Settings::parse(R"({"pace":"flat","speed":2.5,"seed":9,"start":"2026-01-02","frames":10,"book_depth":5,
      "rates":{"quotes":0,"news":3},"faults":{"gap":0.1,"stall_for":"5s","gap_frames":4,"at":[{"frame":7,"fault":"reorder"},{"frame":3,"fault":"gap"}]}})");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_TRUE(settings->flat);
  EXPECT_EQ(settings->seed, 9u);
  EXPECT_EQ(settings->start.to_string(), "2026-01-02T00:00:00.000000000Z");
  EXPECT_EQ(settings->rates[0], 0);
  EXPECT_EQ(settings->rates[4], 3);
  EXPECT_EQ(settings->stall_ns, 5'000'000'000);
  EXPECT_EQ(settings->planned.at(0).fault, Fault::kGap);
  EXPECT_TRUE(Settings::parse(""));
  EXPECT_TRUE(Settings::parse("{}"));
}

TEST(SimSettings, NamesTheSettingThatIsWrong) {
  for (const auto& [json, name] : std::vector<std::pair<std::string, std::string>>{
           {R"({"pase":"flat"})", "pase"}, {R"({"pace":"fast"})", "pace"}, {R"({"speed":0})", "speed"}, {R"({"seed":-1})", "seed"},
           {R"({"start":"soon"})", "start"}, {R"({"book_depth":0})", "book_depth"}, {R"({"rates":{"quote":1}})", "rates.quote"},
           {R"({"rates":{"quotes":-1}})", "rates.quotes"}, {R"({"faults":{"fire":1}})", "faults.fire"}, {R"({"faults":{"gap":2}})", "faults.gap"},
           {R"({"faults":{"at":[{"frame":1,"fault":"x"}]}})", "faults.at"}, {R"({"faults":{"stall_for":"long"}})", "stall_for"}, {"[]", "object"}}) {
    const auto settings = Settings::parse(json);
    ASSERT_FALSE(settings) << json;
    EXPECT_EQ(settings.error().code, Code::kInvalidArgument);
    EXPECT_NE(settings.error().message.find(name), std::string::npos) << settings.error().message;
  }
}

}  // namespace
}  // namespace utp::sim
