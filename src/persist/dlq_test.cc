#include "persist/dlq.h"

#include <pthread.h>

#include <csignal>

#include <gtest/gtest.h>

#include "persist/test_chamber.h"

namespace utp {
namespace {

using persist_test::Chamber;
using persist_test::must;
using persist_test::Source;

constexpr std::string_view kQuotes = "utp.prod.local.quotes.v2";
constexpr std::string_view kTrades = "utp.prod.local.trades.v2";

class DlqTest : public ::testing::Test {
 protected:
  Dlq dlq(DlqOptions options = {}) { return Dlq(chamber_.bus, chamber_.registry, clock_, std::move(options)); }
  void persist() { chamber_.drain(*chamber_.persister()); }

  // A quote whose bid became a text on its way.
  std::string broken_quote(std::int64_t time) {
    source_.quote("X", time);
    std::string bytes = source_.take()[0];
    const std::size_t at = bytes.find("\"bid\":") + 6;
    bytes.replace(at, bytes.find(',', at) - at, "\"oops\"");
    return bytes;
  }

  SystemClock clock_;
  Chamber chamber_;
  Source source_{chamber_.bus, chamber_.registry};
};

TEST_F(DlqTest, ListsByFilter) {
  source_.publish_bytes(kQuotes, broken_quote(1));
  source_.publish_bytes(kTrades, "{}");
  source_.publish_bytes(kTrades, "nonsense");
  persist();
  Dlq letters = dlq();
  EXPECT_EQ(must(letters.list({})).size(), 3u);
  EXPECT_EQ(must(letters.list({.code = "json"})).size(), 1u);
  EXPECT_EQ(must(letters.list({.topic = std::string(kTrades)})).size(), 2u);
  EXPECT_EQ(must(letters.list({.topic = "utp.prod.*.quotes.v2"})).size(), 1u);
  EXPECT_EQ(must(letters.list({.limit = 2})).size(), 2u);
  EXPECT_EQ(must(letters.list({.since = Timestamp{INT64_MAX}})).size(), 0u);
  EXPECT_EQ(must(letters.list({.connector = "nobody"})).size(), 0u);
  EXPECT_EQ(letters.show("zz").error().code, Code::kNotFound);
}

TEST_F(DlqTest, RepairsWithAMergePatchAndStoresTheRowOnce) {
  source_.publish_bytes(kQuotes, broken_quote(7));
  persist();
  EXPECT_EQ(chamber_.rows("quotes"), 0u);
  Dlq letters = dlq();
  const DlqReport report = must(letters.replay({}, {.merge_patch = R"({"payload":{"bid":101.25,"venue":null}})", .program = {}}));
  EXPECT_EQ(report.replayed, 1u);
  EXPECT_TRUE(report.left.empty());
  persist();
  auto cursor = must(chamber_.store.query({.event_type = "quotes/v2"}));
  std::vector<Value> values;
  ASSERT_TRUE(must(cursor->next(values)));
  std::map<std::string, std::string> row;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i].kind == Kind::kText) row[cursor->columns()[i].name] = values[i].as_text();
    if (values[i].kind == Kind::kDecimal) row[cursor->columns()[i].name] = values[i].as_decimal().to_string();
    if (values[i].kind == Kind::kTime) row[cursor->columns()[i].name] = std::to_string(values[i].as_time().ns);
  }
  EXPECT_EQ(row["bid"], "101.25");
  EXPECT_EQ(row["quality"], "repaired");
  EXPECT_EQ(row["event_time"], std::to_string(persist_test::kStartNs + 7));
  EXPECT_EQ(row["source_id"], "venue.us1");
  EXPECT_FALSE(row.contains("venue"));
  EXPECT_FALSE(must(cursor->next(values)));
  EXPECT_TRUE(must(letters.list({})).empty());
  const auto finished = must(letters.list({.finished = true}));
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].finished, "replayed");
}

TEST_F(DlqTest, KeepsALetterWhoseRepairIsStillInvalid) {
  source_.publish_bytes(kQuotes, broken_quote(1));
  persist();
  Dlq letters = dlq();
  const DlqReport report = must(letters.replay({}, {.merge_patch = R"({"payload":{"bid":true}})", .program = {}}));
  EXPECT_EQ(report.replayed, 0u);
  ASSERT_EQ(report.left.size(), 1u);
  EXPECT_NE(report.left[0].reason.find("/payload/bid"), std::string::npos) << report.left[0].reason;
  EXPECT_EQ(must(letters.list({})).size(), 1u);
}

TEST_F(DlqTest, RepairsThroughAProgram) {
  source_.publish_bytes(kQuotes, broken_quote(1));
  source_.publish_bytes(kQuotes, broken_quote(2));
  persist();
  Dlq letters = dlq();
  DlqReport report = must(letters.replay({}, {.merge_patch = {}, .program = "exit 3"}));
  EXPECT_EQ(report.left.size(), 2u);
  EXPECT_NE(report.left[0].reason.find("exited with 3"), std::string::npos);
  report = must(letters.replay({}, {.merge_patch = {}, .program = "sed 's/\"oops\"/5.5/'"}));
  EXPECT_EQ(report.replayed, 2u);
  persist();
  EXPECT_EQ(chamber_.rows("quotes"), 2u);
}

TEST_F(DlqTest, SendsAMessageUnchangedOnceItsSchemaIsKnown) {
  source_.quote("X", 3);
  const std::string current = source_.take()[0];
  std::string newer = current;
  newer.replace(newer.find("quotes/2.0.0"), 12, "quotes/2.1.0");
  source_.publish_bytes(kQuotes, newer);
  persist();
  Dlq letters = dlq();
  EXPECT_EQ(must(letters.replay({}, {})).left.size(), 1u);

  std::string schema(chamber_.registry.by_event_type("quotes/v2")->schema().text());
  schema.replace(schema.find("quotes/2.0.0"), 12, "quotes/2.1.0");
  must(chamber_.registry.add(schema, "quotes/2.1.0.json"));
  Dlq informed = dlq();
  EXPECT_EQ(must(informed.replay({.code = "schema_unknown"}, {})).replayed, 1u);
  persist();
  auto cursor = must(chamber_.store.query({.event_type = "quotes/v2"}));
  std::vector<Value> values;
  ASSERT_TRUE(must(cursor->next(values)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string& name = cursor->columns()[i].name;
    if (name == "schema_ref") {
      EXPECT_EQ(values[i].as_text(), "utp://quotes/2.1.0");
    } else if (name == "quality") {
      EXPECT_EQ(values[i].kind, Kind::kNull);
    }
  }
}

TEST_F(DlqTest, DropsForGood) {
  source_.publish_bytes(kQuotes, "a");
  source_.publish_bytes(kQuotes, "b");
  persist();
  Dlq letters = dlq();
  const auto before = must(letters.list({}));
  EXPECT_EQ(must(letters.drop({.id = before[0].id})).dropped, 1u);
  EXPECT_EQ(must(letters.list({})).size(), 1u);
  EXPECT_EQ(must(dlq().list({})).size(), 1u) << "also for whoever looks later";
  EXPECT_EQ(must(letters.drop({})).dropped, 1u);
  EXPECT_EQ(must(letters.drop({})).dropped, 0u);
}

TEST_F(DlqTest, PutsALargeOriginalTogether) {
  std::string large = "not json ";
  while (large.size() < 500'000) large += std::to_string(large.size());
  source_.publish_bytes(kQuotes, large);
  persist();
  Dlq letters = dlq();
  const auto found = must(letters.list({}));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_TRUE(found[0].complete);
  EXPECT_EQ(must(letters.show(found[0].id)).original, large);
}

TEST_F(DlqTest, ShowsALetterOnceThatWasWrittenTwice) {
  source_.publish_bytes(kQuotes, "broken");
  persist();
  PersisterOptions again = chamber_.options();
  again.group = "second";
  chamber_.drain(*chamber_.persister(again));
  EXPECT_EQ(must(dlq().list({})).size(), 1u);
}

TEST_F(DlqTest, LeavesFramesToTheirConnector) {
  auto writer = must(DeadLetterWriter::create(chamber_.registry, clock_, {}));
  writer->add({.stage = DeadLetterStage::kMap, .code = "json", .original = "frame bytes", .connector = "venue.us1", .connection = 0, .frame_kind = "ws"});
  auto publisher = must(chamber_.bus.publisher({}));
  for (const DeadLetterMessage& m : writer->messages()) {
    const OutMessage message{m.topic, m.key, m.value};
    must(publisher->publish({&message, 1}));
  }
  EXPECT_EQ(must(dlq({.realm = "prod", .region = "local"}).replay({}, {})).left.size(), 1u);
  std::string mapped;
  DlqOptions options;
  options.replay_frame = [&](const DlqEntry& entry, std::string_view bytes) -> Status {
    mapped = entry.connector + " " + std::string(bytes);
    return {};
  };
  EXPECT_EQ(must(dlq(options).replay({}, {.merge_patch = {}, .program = "tr a-z A-Z"})).replayed, 1u);
  EXPECT_EQ(mapped, "venue.us1 FRAME BYTES");
}

TEST_F(DlqTest, ReadsAllThatLieAheadOfItsClock) {
  for (int i = 0; i < 600; ++i) source_.publish_bytes(kQuotes, "broken " + std::to_string(i));
  PersisterOptions options = chamber_.options();
  options.dead_letters.flood_per_minute = 1000;
  chamber_.drain(*chamber_.persister(options));
  const ManualClock behind(Timestamp::from_seconds(1'000'000'000));
  EXPECT_EQ(must(Dlq(chamber_.bus, chamber_.registry, behind, {}).list({})).size(), 600u);
}

TEST_F(DlqTest, StopsWhenItIsTold) {
  for (const char* text : {"a", "b", "c"}) source_.publish_bytes(kQuotes, text);
  persist();
  int asked = 0;
  DlqOptions options;
  options.stop = [&] { return ++asked > 2; };
  EXPECT_EQ(dlq(options).list({}).error().code, Code::kCancelled);
  asked = -3;  // the three of the look for tombstones, then two
  const DlqReport report = must(dlq(options).drop({}));
  EXPECT_TRUE(report.stopped);
  EXPECT_EQ(report.dropped, 2u);
  EXPECT_EQ(must(dlq().list({})).size(), 1u);
}

TEST_F(DlqTest, RemembersSoManyFinishedLettersAndShowsTheOthersAsOpen) {
  for (const char* text : {"a", "b", "c"}) source_.publish_bytes(kQuotes, text);
  persist();
  EXPECT_EQ(must(dlq().drop({})).dropped, 3u);
  EXPECT_EQ(must(dlq({.letters_max = 1}).list({})).size(), 2u);
}

TEST(FilterThrough, StartsTheProgramWithSignalsAsUsual) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto ignored = ::signal(SIGPIPE, SIG_IGN);
  for (const char* signal : {"TERM", "PIPE"}) {
    const auto result = filter_through(std::string("kill -") + signal + " $$; echo alive", "", 10'000, 1000);
    ASSERT_FALSE(result) << signal << ": " << *result;
    EXPECT_NE(result.error().message.find("was ended by signal"), std::string::npos) << result.error().message;
  }
  ::signal(SIGPIPE, ignored);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(FilterThrough, EndsTheProgramWhenItIsToldToStop) {
  int asked = 0;
  const auto result = filter_through("sleep 60", "", 60'000, 1000, [&] { return ++asked > 1; });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kCancelled);
}

TEST(FilterThrough, EndsAProgramThatDoesNotEnd) {
  const auto result = filter_through("sleep 60", "", 50, 1000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kTimeout);
}

TEST(FilterThrough, StopsAProgramThatWritesTooMuch) {
  const auto result = filter_through("yes", "", 10'000, 100'000);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFull);
}

TEST(FilterThrough, PassesLargeInputThrough) {
  const std::string large(3'000'000, 'x');
  EXPECT_EQ(*filter_through("cat", large, 10'000, 10'000'000), large);
  EXPECT_EQ(*filter_through("true", large, 10'000, 100), "");
}

TEST(ResealEnvelope, AnEventOutOfAStoreIsSealedByOneChecksumAgain) {
  const Registry registry = Registry::builtin().value();
  const std::string payload = R"({"bid":1.5})";
  const auto hex = [](std::uint64_t value) {
    std::string text(16, '0');
    write_hex64(text.data(), value);
    return text;
  };
  const std::string envelope =
      R"({"v":1,"event_type":"quotes/v2","schema_ref":"utp://quotes/2.0.0","source_id":"sim.us1","realm":"replay_1","region":"replay",)"
      R"("symbol":"X","event_time":"2026-11-22T12:00:00.000000001Z","event_time_source":"venue","ingest_time":"2026-11-22T12:00:00.000000002Z",)"
      R"("sequence":3,"watermark":"2026-11-22T12:00:00.000000001Z","checksum":"0123456789abcdef","payload_checksum":")" +
      hex(hash64(payload) + 1) + R"(","payload":)" + payload + "}";
  EventReader reader(registry);
  Event event;
  Violation violation;
  EXPECT_FALSE(reader.read(envelope, event, violation));
  const auto sealed = reseal_envelope(envelope, registry);
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_EQ(sealed->find("payload_checksum"), std::string::npos) << *sealed;
  ASSERT_TRUE(reader.read(*sealed, event, violation)) << violation.message;
  EXPECT_EQ(event.envelope.checksum, hash64(payload));
}

}  // namespace
}  // namespace utp
