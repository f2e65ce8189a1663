#include "connector/manifest.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

namespace utp {
namespace {

constexpr const char* kGood = R"(manifest: 1
id: example
version: 1.2.3
title: Example
entry: builtin:example
defaults: {realm: test, region: chamber_us}
endpoint: wss://example.com/v2
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
  - {event_type: trades/v2, schema_ref: "utp://trades/2.0.0"}
channels:
  - {name: ticker, event_types: [quotes/v2], stale_after: 30s, thinner: {name: ticker_slow, stale_after: 1m}}
  - {name: trades, event_types: [trades/v2], default: false}
  - {name: status, per_symbol: false}
symbols:
  default: [BTC-USD, ETH-USD]
  separator: "/"
  assets: {XBT: BTC}
  exceptions: {DOGE-USD: XDG/USD}
limits: {connections_per_minute: 30, messages_per_second: 2.5, subscriptions_per_connection: 50, events_per_second: 1000}
secrets:
  - {name: api_key, env: EXAMPLE_API_KEY, description: the key of your account page}
  - {name: extra, env: EXAMPLE_EXTRA, required: false}
lateness: 2s
reconnect: {backoff_min: 1s, backoff_max: 1m, confirm_within: 10s, message_bytes: 8MiB}
queue: {frames_bytes: 1MiB, events_bytes: 524288}
batch: {events: 100, bytes: 64KiB, linger: 5ms}
health: {degraded_after: 10s, down_after: 20s}
settings: {depth: 25, nested: {a: 1, b: two}}
)";

class ManifestTest : public ::testing::Test {
 protected:
  ManifestTest() : registry_(*Registry::builtin()) {}
  std::string refusal(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    const auto manifest = parse_manifest(text, "example/connector.manifest.yaml", registry_);
    return manifest ? "accepted" : manifest.error().message;
  }
  Registry registry_;
};

TEST_F(ManifestTest, ReadsEveryField) {
  const auto m = parse_manifest(kGood, "m.yaml", registry_);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->id, "example");
  EXPECT_EQ(m->version, "1.2.3");
  EXPECT_EQ(m->builtin, "example");
  EXPECT_EQ(m->realm, "test");
  EXPECT_EQ(m->region, "chamber_us");
  ASSERT_EQ(m->plans().size(), 2u);
  EXPECT_EQ(m->plans()[1]->event_type(), "trades/v2");
  EXPECT_EQ(m->channel("ticker")->stale_after_ns, 30'000'000'000);
  EXPECT_EQ(m->channel("ticker")->thinner, "ticker_slow");
  EXPECT_EQ(m->channel("ticker")->thinner_stale_after_ns, 60'000'000'000);
  EXPECT_EQ(m->channel("trades")->thinner, "");
  EXPECT_FALSE(m->channel("status")->per_symbol);
  EXPECT_EQ(m->channel("nothing"), nullptr);
  EXPECT_EQ(m->rates.connections_per_minute, 30);
  EXPECT_EQ(m->rates.messages_per_second, 2.5);
  EXPECT_EQ(m->rates.subscriptions_per_connection, 50u);
  EXPECT_EQ(m->rates.events_per_second, 1000);
  EXPECT_EQ(m->lateness_ns, 2'000'000'000);
  EXPECT_EQ(m->link.backoff_max_ns, 60'000'000'000);
  EXPECT_EQ(m->link.message_bytes_max, 8u << 20);
  EXPECT_EQ(m->confirm_within_ns, 10'000'000'000);
  EXPECT_EQ(m->queue_frames_bytes, 1u << 20);
  EXPECT_EQ(m->queue_events_bytes, 524288u);
  EXPECT_EQ(m->batch_events, 100u);
  EXPECT_EQ(m->batch_bytes, 64u << 10);
  EXPECT_EQ(m->degraded_after_ns, 10'000'000'000);
  EXPECT_EQ(m->settings_json, R"({"depth":25,"nested":{"a":1,"b":"two"}})");
  SymbolMap map = m->symbol_map();
  EXPECT_EQ(map.canonical("XBT/USD"), "BTC-USD");
  EXPECT_EQ(map.canonical("XDG/USD"), "DOGE-USD");
  EXPECT_EQ(map.venue("DOGE-USD"), "XDG/USD");
}

TEST_F(ManifestTest, AnUnknownEventTypeIsRefusedWithFileLineAndTheNearestName) {
  const std::string message = refusal("event_type: quotes/v2", "event_type: qoutes/v2");
  EXPECT_NE(message.find("example/connector.manifest.yaml:9"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean quotes/v2?"), std::string::npos) << message;
}

TEST_F(ManifestTest, AnUnknownSchemaIsRefusedWithWhatThereIs) {
  const std::string message = refusal("utp://trades/2.0.0", "utp://trades/9.0.0");
  EXPECT_NE(message.find("connector.manifest.yaml:10"), std::string::npos) << message;
  EXPECT_NE(message.find("utp://trades/2.0.0"), std::string::npos) << message;
}

TEST_F(ManifestTest, RefusalsNameThePlace) {
  const struct {
    const char *from, *to, *expected;
  } cases[] = {
      {"id: example", "id: Example!", ":2"},
      {"manifest: 1", "manifest: 2", ":1"},
      {"entry: builtin:example", "entry: python:example", ":5"},
      {"entry: builtin:example", "entry: \"exec: 'open\"", ":5"},
      {"entry: builtin:example\n", "", "entry"},
      {"schema_ref: \"utp://quotes/2.0.0\"", "schema_ref: \"utp://trades/2.0.0\"", ":9"},
      {"- {event_type: trades/v2, schema_ref: \"utp://trades/2.0.0\"}", "- {event_type: quotes/v2, schema_ref: \"utp://quotes/2.0.0\"}", ":10"},
      {"stale_after: 30s", "stale_after: 30", ":12"},
      {"event_types: [quotes/v2]", "event_types: [news/v1]", ":12"},
      {"stale_after: 1m", "stale_after: 60", ":12"},
      {"name: ticker_slow", "nmae: ticker_slow", ":12"},
      {"event_types: [quotes/v2]", "event_types: [quotes/v2, trades/v2]", ":12"},
      {"default: false}", "default: false, thinner: {name: few}}", "trades are never thinned"},
      {"entry: builtin:example", "entry: exec:./feed.py", "a program cannot be asked for a thinner subscription"},
      {"name: status", "name: ticker", ":14"},
      {"default: [BTC-USD, ETH-USD]", "default: [BTC-USD, BTC-USD]", ":16"},
      {"connections_per_minute: 30", "connections_per_minute: -1", ":20"},
      {"connections_per_minute: 30", "conections_per_minute: 30", ":20"},
      {"name: api_key, env: EXAMPLE_API_KEY", "name: api_key, env: EXAMPLE_API_KEY, file: /x", ":22"},
      {"name: api_key, env: EXAMPLE_API_KEY", "name: api_key, value: hunter2", ":22"},
      {"backoff_min: 1s", "backoff_min: 2m", ":25"},
      {"frames_bytes: 1MiB", "frames_bytes: 1MB", ":26"},
      {"frames_bytes: 1MiB", "frames_bytes: 12", ":26"},
      {"events: 100", "events: 0", ":27"},
      {"lateness: 2s", "lateness: 99999999999d", ":24"},
  };
  for (const auto& c : cases) {
    const std::string message = refusal(c.from, c.to);
    EXPECT_NE(message.find(c.expected), std::string::npos) << c.to << " gave: " << message;
    EXPECT_NE(message.find("example/connector.manifest.yaml"), std::string::npos) << message;
  }
}

TEST_F(ManifestTest, AProgramIsCutIntoWordsWithoutAShell) {
  std::string text = kGood;
  text.replace(text.find("builtin:example"), 15, "\"exec:./feed.py --name 'two words' $HOME\"");
  const std::string thinner = ", thinner: {name: ticker_slow, stale_after: 1m}";  // which no program has
  text.erase(text.find(thinner), thinner.size());
  const auto m = parse_manifest(text, "m.yaml", registry_);
  ASSERT_TRUE(m) << m.error().message;
  EXPECT_EQ(m->program, (std::vector<std::string>{"./feed.py", "--name", "two words", "$HOME"}));
}

TEST_F(ManifestTest, WantedStreamsAreChannelsTimesSymbols) {
  const auto m = parse_manifest(kGood, "m.yaml", registry_);
  ASSERT_TRUE(m);
  const auto defaults = m->wanted({}, {});
  ASSERT_TRUE(defaults);
  ASSERT_EQ(defaults->size(), 3u);  // ticker x 2, status; trades is not wanted by default
  EXPECT_EQ((*defaults)[1].symbol, "ETH-USD");
  EXPECT_EQ((*defaults)[2].symbol, "");
  const auto chosen = m->wanted({"trades"}, {"SOL-USD"});
  ASSERT_TRUE(chosen);
  ASSERT_EQ(chosen->size(), 1u);
  const auto wrong = m->wanted({"trade"}, {});
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("did you mean trades?"), std::string::npos) << wrong.error().message;
}

TEST_F(ManifestTest, AMissingSecretIsNamedWithItsVariableAndConnector) {
  const auto m = parse_manifest(kGood, "m.yaml", registry_);
  ASSERT_TRUE(m);
  const auto none = m->read_secrets([](const char*) -> const char* { return nullptr; });
  ASSERT_FALSE(none);
  for (const char* part : {"example", "api_key", "EXAMPLE_API_KEY", "the key of your account page"}) {
    EXPECT_NE(none.error().message.find(part), std::string::npos) << none.error().message;
  }
  const auto some = m->read_secrets([](const char* name) -> const char* { return std::string_view(name) == "EXAMPLE_API_KEY" ? "value" : nullptr; });
  ASSERT_TRUE(some);
  EXPECT_EQ(some->at("api_key"), "value");
  EXPECT_EQ(some->count("extra"), 0u);
}

TEST_F(ManifestTest, TheFolderMustBeNamedLikeTheConnector) {
  char folder[] = "/tmp/utp-manifest-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::filesystem::path root(folder);
  for (const char* name : {"example", "other"}) {
    std::filesystem::create_directory(root / name);
    std::ofstream(root / name / kManifestFile) << kGood;
  }
  const auto good = load_manifest((root / "example").string(), registry_);
  EXPECT_TRUE(good) << good.error().message;
  const auto wrong = load_manifest((root / "other").string(), registry_);
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("expected the folder's name other"), std::string::npos) << wrong.error().message;
  const auto absent = load_manifest((root / "nothing").string(), registry_);
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message.find("nothing"), std::string::npos) << absent.error().message;
  std::filesystem::remove_all(root);
}

TEST(ManifestValues, BytesTakeUnits) {
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("16MiB"), 16u << 20);
  EXPECT_EQ(parse_bytes("1GiB"), 1u << 30);
  EXPECT_FALSE(parse_bytes("1MB"));
  EXPECT_FALSE(parse_bytes(""));
  EXPECT_FALSE(parse_bytes("99999999999999999GiB"));
}

TEST(ManifestValues, SettingsMergeDeeply) {
  EXPECT_EQ(*merge_json(R"({"a":1,"b":{"c":2,"d":3}})", R"({"b":{"d":4},"e":[1]})"), R"({"a":1,"b":{"c":2,"d":4},"e":[1]})");
  EXPECT_EQ(*merge_json("", ""), "{}");
  EXPECT_FALSE(merge_json("[]", "{}"));
}

TEST(Manifest, WantsNothingTwice) {
  const auto registry = Registry::builtin();
  ASSERT_TRUE(registry);
  const auto m = parse_manifest(R"(manifest: 1
id: example
version: 1.0.0
entry: builtin:example
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
channels:
  - {name: ticker, event_types: [quotes/v2]}
  - {name: status, per_symbol: false}
)", "m.yaml", *registry);
  ASSERT_TRUE(m) << m.error().message;
  const auto wanted = m->wanted({"ticker", "status", "ticker"}, {"BTC-USD", "ETH-USD", "BTC-USD"});
  ASSERT_TRUE(wanted);
  ASSERT_EQ(wanted->size(), 3u);
  EXPECT_EQ((*wanted)[0].symbol, "BTC-USD");
  EXPECT_EQ((*wanted)[1].symbol, "ETH-USD");
  EXPECT_EQ((*wanted)[2].channel, "status");
}

TEST(Manifest, OnlySaysHowLongAProgramMayBeSilentWhereItIsToldSo) {
  const auto registry = Registry::builtin();
  ASSERT_TRUE(registry);
  const std::string text = R"(manifest: 1
id: example
version: 1.0.0
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
)";
  const auto silence = [&](const std::string& more) {
    const auto m = parse_manifest(text + more, "m.yaml", *registry);
    EXPECT_TRUE(m) << m.error().message;
    return m ? m->silent_connection_ns / 1'000'000'000 : -1;
  };
  EXPECT_EQ(silence("entry: builtin:example\n"), 60);
  EXPECT_EQ(silence("entry: exec:./feed\n"), 0);
  EXPECT_EQ(silence("entry: exec:./feed\nreconnect: {silent_connection: 30s}\n"), 30);
}

}  // namespace
}  // namespace utp
