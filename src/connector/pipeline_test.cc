#include "connector/pipeline.h"

#include <stdexcept>

#include <gtest/gtest.h>

#include "bus/testing/memory_bus.h"
#include "core/base64.h"

namespace utp {
namespace {

using testing::MemoryBus;

constexpr Timestamp kStart{1'700'000'000'000'000'000};

// "quote SYMBOL BID", "trade SYMBOL ID", "bad" (rejects), "wrong SYMBOL" (violates its schema), "gap SYMBOL", "ask", "throw".
class TextMapper final : public Mapper {
 public:
  explicit TextMapper(std::vector<std::shared_ptr<const Plan>> plans) : plans_(std::move(plans)) {}
  void on_frame(const Frame& frame, MapperOutput& output) override {
    if (frame.kind != FrameKind::kWs) return;
    std::vector<std::string_view> words;
    for (std::string_view rest = frame.bytes; !rest.empty();) {
      const std::size_t end = rest.find(' ');
      words.push_back(rest.substr(0, end));
      rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
    }
    EventHeader header;
    header.event_time = frame.receive_time;
    if (words.size() > 1) header.symbol = words[1];
    if (words[0] == "quote") {
      row_.reset(*plans_[0]);
      row_.set(*plans_[0]->column("bid"), *Decimal::parse(words[2]));
      output.emit(0, header, row_);
      output.alive(frame.connection, "ticker", header.symbol);
    } else if (words[0] == "trade") {
      row_.reset(*plans_[1]);
      row_.set(*plans_[1]->column("price"), Decimal(1, 0));
      row_.set(*plans_[1]->column("size"), Decimal(1, 0));
      row_.set(*plans_[1]->column("trade_id"), words[2]);
      output.emit(1, header, row_);
    } else if (words[0] == "wrong") {
      row_.reset(*plans_[1]);  // a trade without a price
      EXPECT_FALSE(output.emit(1, header, row_));
    } else if (words[0] == "gap") {
      output.gap("trades/v2", header.symbol, "counter jumped", 3);
    } else if (words[0] == "ask") {
      output.command({});
    } else if (words[0] == "throw") {
      throw std::runtime_error("out of words");
    } else {
      output.reject("syntax", "/0", "no such word");
    }
  }

 private:
  std::vector<std::shared_ptr<const Plan>> plans_;
  Row row_;
};

std::string base64(std::string_view bytes) {
  std::string text;
  append_base64(text, bytes);
  return text;
}

class PipelineTest : public ::testing::Test {
 protected:
  PipelineTest() : registry_(*Registry::builtin()), publisher_(*bus_.publisher({})) {}

  void make(PipelineOptions options = {}, StreamWatch* watch = nullptr) {
    options.source_id = "test.1";
    options.realm = "r";
    options.region = "x";
    options.plans = {registry_.by_event_type("quotes/v2"), registry_.by_event_type("trades/v2")};
    auto made = Pipeline::create(options, registry_, clock_, *publisher_, std::make_unique<TextMapper>(options.plans), watch);
    ASSERT_TRUE(made) << made.error().message;
    pipeline_ = std::move(*made);
  }
  void feed(std::string_view text, FrameKind kind = FrameKind::kWs) {
    clock_.advance(1'000'000);
    Frame frame;
    frame.kind = kind;
    frame.bytes = text;
    frame.receive_time = clock_.now();
    pipeline_->on_frame(frame);
  }
  std::uint64_t count(std::string_view type) {
    for (const auto& [name, n] : pipeline_->counts().events) {
      if (name == type) return n;
    }
    return 0;
  }

  Registry registry_;
  ManualClock clock_{kStart};
  MemoryBus bus_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_F(PipelineTest, PublishesEventsInOrderToTheirTopics) {
  make();
  feed("quote A 1");
  feed("trade A 7");
  feed("quote A 2");
  EXPECT_TRUE(bus_.messages().empty());
  ASSERT_TRUE(pipeline_->flush());
  const auto quotes = bus_.messages("utp.r.x.quotes.v2");
  ASSERT_EQ(quotes.size(), 2u);
  EXPECT_NE(quotes[0].value.find("\"bid\":1"), std::string::npos);
  EXPECT_NE(quotes[1].value.find("\"bid\":2"), std::string::npos);
  EXPECT_EQ(quotes[0].key, "A");
  EXPECT_EQ(bus_.messages("utp.r.x.trades.v2").size(), 1u);
  EXPECT_TRUE(pipeline_->empty());
  EXPECT_EQ(pipeline_->counts().published, 3u);
  EXPECT_GT(pipeline_->counts().latency_p99_ns, 0);
}

TEST_F(PipelineTest, WhatCannotBeMappedGoesToTheFramesTopicWithItsBytes) {
  make();
  feed("nonsense \x01 bytes");
  ASSERT_TRUE(pipeline_->flush());
  const auto letters = bus_.messages("utp.r.x.system.frames.v1.dlq");
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_NE(letters[0].value.find(base64("nonsense \x01 bytes")), std::string::npos) << letters[0].value;
  EXPECT_NE(letters[0].value.find("\"code\":\"syntax\""), std::string::npos);
  EXPECT_EQ(pipeline_->counts().rejects, 1u);
}

TEST_F(PipelineTest, WhatItsSchemaRefusesGoesToTheTopicsDeadLetters) {
  make();
  feed("wrong A");
  feed("trade A 1");
  ASSERT_TRUE(pipeline_->flush());
  const auto letters = bus_.messages("utp.r.x.trades.v2.dlq");
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_NE(letters[0].value.find(base64("wrong A")), std::string::npos);
  EXPECT_EQ(bus_.messages("utp.r.x.trades.v2").size(), 1u);
}

TEST_F(PipelineTest, GapsBecomeEventsAndCommandsAreCountedInAReplay) {
  make();
  feed("gap A");
  feed("ask");
  ASSERT_TRUE(pipeline_->flush());
  const auto gaps = bus_.messages("utp.r.x.system.gap.v1");
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_NE(gaps[0].value.find("\"missed\":3"), std::string::npos) << gaps[0].value;
  EXPECT_EQ(pipeline_->counts().gaps, 1u);
  EXPECT_EQ(pipeline_->counts().commands, 1u);
}

TEST_F(PipelineTest, NothingIsLostOrReorderedWhileTheBusIsAway) {
  make();
  bus_.fail_with(Error{Code::kUnavailable, "away", true});
  for (int i = 0; i < 50; ++i) {
    feed("trade A " + std::to_string(i));
    EXPECT_FALSE(pipeline_->flush());
  }
  feed("nonsense");
  EXPECT_TRUE(bus_.messages().empty());
  bus_.fail_with(std::nullopt);
  ASSERT_TRUE(pipeline_->flush());
  const auto trades = bus_.messages("utp.r.x.trades.v2");
  ASSERT_EQ(trades.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_NE(trades[i].value.find("\"trade_id\":\"" + std::to_string(i) + "\""), std::string::npos);
  EXPECT_EQ(bus_.messages("utp.r.x.system.frames.v1.dlq").size(), 1u);
  EXPECT_TRUE(pipeline_->empty());
}

TEST_F(PipelineTest, UnderPressureTheNewestQuoteReplacesOlderOnesAndTradesStay) {
  make();
  bus_.fail_with(Error{Code::kFull, "full", true});
  pipeline_->set_pressure(true);
  for (int i = 1; i <= 10; ++i) {
    feed("quote A " + std::to_string(i));
    feed("trade A " + std::to_string(i));
    EXPECT_FALSE(pipeline_->flush());
  }
  feed("quote B 5");
  bus_.fail_with(std::nullopt);
  ASSERT_TRUE(pipeline_->flush());
  const auto quotes = bus_.messages("utp.r.x.quotes.v2");
  ASSERT_EQ(quotes.size(), 2u);
  EXPECT_NE(quotes[0].value.find("\"bid\":10"), std::string::npos);
  EXPECT_NE(quotes[0].value.find("\"quality\":[\"conflated\"]"), std::string::npos) << quotes[0].value;
  EXPECT_EQ(quotes[1].value.find("conflated"), std::string::npos) << "nothing was replaced";
  EXPECT_EQ(bus_.messages("utp.r.x.trades.v2").size(), 10u);
  EXPECT_EQ(pipeline_->counts().conflated, 9u);
  EXPECT_EQ(count("quotes/v2"), 2u);
}

TEST_F(PipelineTest, AfterPressureOrderPerSymbolHolds) {
  make();
  pipeline_->set_pressure(true);
  feed("quote A 1");
  pipeline_->set_pressure(false);
  feed("quote A 2");
  ASSERT_TRUE(pipeline_->flush());
  const auto quotes = bus_.messages("utp.r.x.quotes.v2");
  ASSERT_EQ(quotes.size(), 2u);
  EXPECT_NE(quotes[0].value.find("\"bid\":1"), std::string::npos);
  EXPECT_NE(quotes[1].value.find("\"bid\":2"), std::string::npos);
}

TEST_F(PipelineTest, IsFullAtItsBoundAndHoldsConflatedMemoryConstant) {
  PipelineOptions options;
  options.outbound_bytes_max = 20'000;
  make(options);
  bus_.fail_with(Error{Code::kUnavailable, "away", true});
  pipeline_->set_pressure(true);
  for (int i = 0; i < 10'000; ++i) feed("quote A " + std::to_string(i));
  EXPECT_FALSE(pipeline_->full());
  int fed = 0;
  while (!pipeline_->full()) {
    feed("trade A " + std::to_string(fed++));
    ASSERT_LT(fed, 1000);
  }
  EXPECT_LT(pipeline_->outbound_bytes(), 21'000u);
}

TEST_F(PipelineTest, AMessageThatTheBusRefusesIsDeadLetteredAndTheOthersGoOn) {
  make();
  bus_.refuse_values_with("\"trade_id\":\"poison\"");
  feed("trade A 1");
  feed("trade A poison");
  feed("trade A 2");
  ASSERT_TRUE(pipeline_->flush());
  EXPECT_EQ(bus_.messages("utp.r.x.trades.v2").size(), 2u);
  const auto letters = bus_.messages("utp.r.x.trades.v2.dlq");
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_NE(letters[0].value.find("\"stage\":\"publish\""), std::string::npos);
}

TEST_F(PipelineTest, OneRefusedMessageDoesNotMakeTheRestOfAFlushGoSingly) {
  PipelineOptions options;
  options.batch_events = 10;
  make(options);
  bus_.refuse_values_with("\"trade_id\":\"poison\"");
  feed("trade A poison");
  for (int i = 0; i < 99; ++i) feed("trade A " + std::to_string(i));
  ASSERT_TRUE(pipeline_->flush());
  EXPECT_EQ(bus_.messages("utp.r.x.trades.v2").size(), 99u);
  EXPECT_EQ(bus_.publishes(), 1u + 10u + 9u + 1u) << "the chunk, its ten one by one, the other nine, and the letter";
}

TEST_F(PipelineTest, DeadLettersGoOnWhereTheBusStopped) {
  PipelineOptions options;
  options.batch_events = 2;
  make(options);
  for (int i = 0; i < 6; ++i) feed("nonsense " + std::to_string(i));
  bus_.fail_with(Error{Code::kUnavailable, "away", true}, 1);
  EXPECT_FALSE(pipeline_->flush());
  feed("nonsense 6");
  EXPECT_FALSE(pipeline_->flush());
  bus_.fail_with(std::nullopt);
  ASSERT_TRUE(pipeline_->flush());
  const auto letters = bus_.messages("utp.r.x.system.frames.v1.dlq");
  ASSERT_EQ(letters.size(), 7u) << "each once";
  for (int i = 0; i < 7; ++i) EXPECT_NE(letters[i].value.find(base64("nonsense " + std::to_string(i))), std::string::npos) << i;
  EXPECT_TRUE(pipeline_->empty());
}

TEST_F(PipelineTest, ADeadLetterThatTheBusRefusesTakesNoOtherWithIt) {
  make();
  bus_.refuse_values_with(base64("nonsense 2"));
  for (int i = 0; i < 5; ++i) feed("nonsense " + std::to_string(i));
  ASSERT_TRUE(pipeline_->flush());
  EXPECT_EQ(bus_.messages("utp.r.x.system.frames.v1.dlq").size(), 4u);
  EXPECT_TRUE(pipeline_->empty());
}

TEST_F(PipelineTest, AMapperThatThrowsCostsTheFrameAndNoMore) {
  make();
  feed("throw");
  feed("trade A 1");
  ASSERT_TRUE(pipeline_->flush());
  const auto letters = bus_.messages("utp.r.x.system.frames.v1.dlq");
  ASSERT_EQ(letters.size(), 1u);
  EXPECT_NE(letters[0].value.find("out of words"), std::string::npos) << letters[0].value;
  EXPECT_EQ(bus_.messages("utp.r.x.trades.v2").size(), 1u);
}

TEST_F(PipelineTest, CommandsSayWhichOpeningOfTheirConnectionTheyAnswerTo) {
  std::vector<std::uint64_t> opens;
  PipelineOptions options;
  options.commands = [&](const Command& command) { opens.push_back(command.opens); };
  make(options);
  feed("ask");
  feed("", FrameKind::kOpen);
  feed("ask");
  feed("", FrameKind::kClose);
  feed("", FrameKind::kOpen);
  feed("ask");
  EXPECT_EQ(opens, (std::vector<std::uint64_t>{0, 1, 2}));
}

TEST_F(PipelineTest, EventsOfAStreamNameEachTypeThatItsChannelBecomes) {
  StreamWatch watch({{{"ticker", "A"}, {"quotes/v2", "trades/v2"}, 10'000'000}, {{"heartbeats", ""}, {}, 10'000'000}}, {});
  watch.start(clock_.now());
  make({}, &watch);
  feed("", FrameKind::kOpen);
  feed("quote A 1");
  clock_.advance(20'000'000);
  pipeline_->check(clock_.now());
  feed("cut", FrameKind::kClose);
  feed("", FrameKind::kOpen);
  ASSERT_TRUE(pipeline_->flush());
  for (const char* topic : {"utp.r.x.system.stale.v1", "utp.r.x.system.gap.v1"}) {
    const auto events = bus_.messages(topic);
    ASSERT_EQ(events.size(), 2u) << topic << ": one for each type, none for the heartbeats";
    EXPECT_NE(events[0].value.find("\"stream_type\":\"quotes/v2\""), std::string::npos) << events[0].value;
    EXPECT_NE(events[1].value.find("\"stream_type\":\"trades/v2\""), std::string::npos) << events[1].value;
    EXPECT_NE(events[1].value.find("\"channel\":\"ticker\""), std::string::npos) << events[1].value;
  }
  EXPECT_EQ(pipeline_->counts().gaps, 2u);
  const auto reconnects = bus_.messages("utp.r.x.system.reconnect.v1");
  ASSERT_EQ(reconnects.size(), 1u);
  EXPECT_EQ(reconnects[0].value.find("confirmed"), std::string::npos) << "nothing can be confirmed yet when a connection opens";
}

TEST_F(PipelineTest, LatencyIsNotKnownWhereNothingWasPublished) {
  make();
  EXPECT_EQ(pipeline_->counts().latency_samples, 0u);
  feed("trade A 1");
  EXPECT_EQ(pipeline_->outbound_events(), 1u);
  ASSERT_TRUE(pipeline_->flush());
  EXPECT_EQ(pipeline_->outbound_events(), 0u);
  EXPECT_EQ(pipeline_->counts().latency_samples, 1u);
  for (const std::int64_t seconds : {10, 20}) pipeline_->turn_latency(seconds * 1'000'000'000);
  EXPECT_EQ(pipeline_->counts().latency_samples, 0u);
}

TEST_F(PipelineTest, PublishesInBatchesOfTheConfiguredSize) {
  PipelineOptions options;
  options.batch_events = 10;
  make(options);
  for (int i = 0; i < 35; ++i) feed("trade A " + std::to_string(i));
  EXPECT_TRUE(pipeline_->batch_ready());
  ASSERT_TRUE(pipeline_->flush());
  EXPECT_EQ(bus_.messages().size(), 35u);
  EXPECT_EQ(bus_.largest_publish(), 10u);
}

}  // namespace
}  // namespace utp
