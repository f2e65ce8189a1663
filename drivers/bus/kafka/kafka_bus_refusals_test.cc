// The bus when brokers answer with errors: a cluster inside this process answers with what it is told to.
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "drivers/bus/kafka/client.h"
#include "drivers/bus/kafka/kafka_bus_fixture.h"

namespace utp::kafka_bus_test {
namespace {

// What a request is in Kafka's protocol.
enum Request : std::int16_t {
  kProduce = 0,
  kFetch = 1,
  kOffsetCommit = 8,
  kOffsetFetch = 9,
  kFindCoordinator = 10,
  kJoinGroup = 11,
  kInitProducer = 22,
};
using Answers = std::vector<rd_kafka_resp_err_t>;
constexpr std::size_t kLasting = 10'000;  // more refusals than any test comes to ask for
// The shortest where brokers do not tell: the cluster takes about as long to deal a group's partitions anew.
constexpr std::int64_t kLease = 6 * kSecond;

struct EndCluster {
  void operator()(rd_kafka_mock_cluster_t* cluster) const { rd_kafka_mock_cluster_destroy(cluster); }
};

class KafkaRefusals : public BusFixture {
 protected:
  void SetUp() override {
    if (const std::string reason = KafkaServer::missing_threads(); !reason.empty()) GTEST_SKIP() << reason;
    log::set_level(log::Level::kOff);  // refusals are what is tested
    prefix_ = KafkaServer::new_prefix();
    auto owner = kafka_bus::new_client(RD_KAFKA_PRODUCER, {}, {});
    ASSERT_TRUE(owner) << owner.error().message;
    owner_ = std::move(*owner);
    cluster_.reset(rd_kafka_mock_cluster_new(owner_.get(), 3));
    ASSERT_NE(cluster_, nullptr);
    make_topic(kTopic, 1);
    options_.servers = rd_kafka_mock_cluster_bootstraps(cluster_.get());
    options_.prefix = prefix_;
    options_.trim_every_ns = 0;
    options_.answer_timeout_ns = 3 * kSecond;
    bus_ = open(options_);
    ASSERT_NE(bus_, nullptr);
  }
  void TearDown() override {
    bus_.reset();
    cluster_.reset();
    owner_.reset();
    BusFixture::TearDown();
  }
  // Where a call has to succeed, also on a slow machine.
  void be_patient() {
    options_.answer_timeout_ns = kPatience / 2;
    bus_ = open(options_);
    ASSERT_NE(bus_, nullptr);
  }
  std::string name_of(const std::string& topic) const { return prefix_ + topic; }
  // The cluster has no request that makes topics.
  void make_topic(const std::string& topic, int partitions) {
    ASSERT_EQ(rd_kafka_mock_topic_create(cluster_.get(), name_of(topic).c_str(), partitions, 3),
              RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  void lead(int broker, int partition = 0) {
    ASSERT_EQ(rd_kafka_mock_partition_set_leader(cluster_.get(), name_of(kTopic).c_str(), partition, broker),
              RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  // The next requests of this kind are answered with these.
  void refuse(Request request, const Answers& answers) {
    rd_kafka_mock_push_request_errors_array(cluster_.get(), request, answers.size(), answers.data());
  }
  void refuse_lastingly(Request request, rd_kafka_resp_err_t answer) { refuse(request, Answers(kLasting, answer)); }
  void allow(Request request) { rd_kafka_mock_clear_request_errors(cluster_.get(), request); }
  std::unique_ptr<Subscription> join(const std::string& group) { return subscribe(group, {}, kTopic, kLease); }
  // Everything that was published, each once and in order.
  void expect_stored(int count) {
    EXPECT_EQ(numbers(receive(*subscribe(), static_cast<std::size_t>(count))), range(0, count));
  }
  static void expect_refused(const Status& status, Code code, bool is_retryable, rd_kafka_resp_err_t answer) {
    ASSERT_FALSE(status) << rd_kafka_err2name(answer);
    EXPECT_EQ(status.error().code, code) << status.error().message;
    EXPECT_EQ(status.error().retryable, is_retryable) << status.error().message;
    EXPECT_NE(status.error().message.find(rd_kafka_err2str(answer)), std::string::npos) << status.error().message;
  }

  kafka_bus::Client owner_;
  std::unique_ptr<rd_kafka_mock_cluster_t, EndCluster> cluster_;
};

// ---- publishing ----

TEST_F(KafkaRefusals, WhatPassesByDelaysAPublishAndNoMore) {
  be_patient();
  const auto out = publisher();
  int next = 0;
  for (const auto answer :
       Answers{RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
               RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
               RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR}) {
    refuse(kProduce, {answer, answer});
    const Status status = publish(*out, next, 5);
    EXPECT_TRUE(status) << rd_kafka_err2name(answer) << ": " << status.error().message;
    next += 5;
  }
  expect_stored(next);
}

TEST_F(KafkaRefusals, WhatLastsIsToldByItsName) {
  const auto out = publisher();
  int next = 0;
  for (const auto& [answer, code] : std::vector<std::pair<rd_kafka_resp_err_t, Code>>{
           {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, Code::kUnavailable},
           {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, Code::kUnavailable},
           {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, Code::kUnavailable},
           {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, Code::kFull}}) {
    refuse_lastingly(kProduce, answer);
    expect_refused(publish(*out, next, 5), code, true, answer);
    allow(kProduce);
    publish_until_done(*out, next, 5);
    next += 5;
  }
  expect_stored(next);
}

TEST_F(KafkaRefusals, ATopicWithoutALeaderIsUnavailable) {
  const auto out = publisher();
  publish_until_done(*out, 0, 5);
  lead(-1);
  const Status status = publish(*out, 5, 5);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
  EXPECT_TRUE(status.error().retryable);
  lead(2);
  publish_until_done(*out, 5, 5);
  expect_stored(10);
}

TEST_F(KafkaRefusals, WhatARepetitionCannotCureIsNotToBeRepeated) {
  const auto out = publisher();
  int next = 0;
  for (const auto& [answer, code] : std::vector<std::pair<rd_kafka_resp_err_t, Code>>{
           {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, Code::kInvalidArgument},
           {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, Code::kPermission},
           {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, Code::kPermission}}) {
    refuse(kProduce, {answer});
    expect_refused(publish(*out, next, 5), code, false, answer);
    publish_until_done(*out, next, 5);  // the operator has changed something
    next += 5;
  }
  expect_stored(next);
}

TEST_F(KafkaRefusals, TheReasonIsToldAmongManyPartitions) {
  constexpr const char* kWide = "utp.test.local.trades.v1";
  make_topic(kWide, 12);
  const auto out = publisher();
  for (int i = 0; i < 5; ++i) {
    refuse(kProduce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
    expect_refused(publish(*out, 0, 200, {.topic = kWide, .is_keyed = true}), Code::kPermission, false,
                   RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    allow(kProduce);
  }
  publish_until_done(*out, 0, 200, {.topic = kWide, .is_keyed = true});
}

TEST_F(KafkaRefusals, AProducerThatMayNotBeIdempotentHasNoPermission) {
  const auto out = publisher();
  refuse_lastingly(kInitProducer, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
  expect_refused(publish(*out, 0, 5), Code::kPermission, false, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
  allow(kInitProducer);
  publish_until_done(*out, 0, 5);
  expect_stored(5);
}

TEST_F(KafkaRefusals, AProducerThatTheClusterForgotIsReplaced) {
  const auto out = publisher();
  publish_until_done(*out, 0, 5);
  int next = 5;
  for (const auto answer :
       Answers{RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
               RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID}) {
    for (const std::size_t times : {1u, 3u}) {
      refuse(kProduce, Answers(times, answer));
      publish_until_done(*out, next, 5);
      publish_until_done(*out, next + 5, 5);
      next += 10;
    }
  }
  expect_stored(next);
}

// ---- reading ----

TEST_F(KafkaRefusals, WhatPassesByDelaysAReaderAndNoMore) {
  const auto out = publisher();
  const auto lone = subscribe();
  int next = 0;
  for (const auto answer : Answers{RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                                   RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                                   RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, RD_KAFKA_RESP_ERR_UNKNOWN}) {
    refuse(kFetch, {answer, answer});
    publish_until_done(*out, next, 5);
    EXPECT_EQ(numbers(receive(*lone, 5)), range(next, 5)) << rd_kafka_err2name(answer);
    next += 5;
  }
}

TEST_F(KafkaRefusals, AReaderThatMayNotReadIsTold) {
  publish_until_done(*publisher(), 0, 5);
  refuse_lastingly(kFetch, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  const auto lone = subscribe();
  Status status;
  ASSERT_TRUE(eventually([&] {
    const auto got = lone->poll(10, 1 << 20, kSecond / 10);
    if (!got) status = fail(got.error());
    return !got;
  }));
  expect_refused(status, Code::kPermission, false, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  allow(kFetch);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(0, 5));
}

TEST_F(KafkaRefusals, PublisherAndReaderFollowAPartitionToItsNewLeader) {
  be_patient();
  const auto out = publisher();
  const auto lone = subscribe();
  for (int i = 0; i < 3; ++i) {
    lead(1 + i % 3);
    const Status status = publish(*out, i * 10, 10);
    EXPECT_TRUE(status) << status.error().message;
    int next = i * 10;
    for (const auto end = steady_ns() + kPatience; next < i * 10 + 10 && steady_ns() < end;) {
      const auto got = lone->poll(10, 1 << 20, kSecond / 10);
      ASSERT_TRUE(got) << got.error().message;
      for (const InMessage& m : *got) EXPECT_EQ(std::stoi(std::string(m.value)), next++);
    }
    EXPECT_EQ(next, i * 10 + 10);
  }
  expect_stored(30);
}

TEST_F(KafkaRefusals, BrokersThatGoDownAndComeBackLoseNothing) {
  const auto out = publisher();
  const auto lone = subscribe();
  for (int i = 0; i < 3; ++i) {
    lead(1 + i);
    publish_until_done(*out, i * 20, 10);
    EXPECT_EQ(numbers(receive(*lone, 10)), range(i * 20, 10));
    rd_kafka_mock_broker_set_down(cluster_.get(), i == 2 ? -1 : 1 + i);  // the leader, and once all of them
    const Status status = publish(*out, i * 20 + 10, 10);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
    rd_kafka_mock_broker_set_up(cluster_.get(), i == 2 ? -1 : 1 + i);
    publish_until_done(*out, i * 20 + 10, 10);
    EXPECT_EQ(numbers(receive(*lone, 10)), range(i * 20 + 10, 10));
  }
}

// ---- groups ----

TEST_F(KafkaRefusals, WhatPassesByDelaysAnAcknowledgementAndNoMore) {
  be_patient();
  const auto out = publisher();
  auto reader = join("g");
  int next = 0;
  for (const auto answer : Answers{RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                                   RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                                   RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT}) {
    publish_until_done(*out, next, 5);
    const auto got = receive(*reader, 5);
    ASSERT_EQ(numbers(got), range(next, 5)) << rd_kafka_err2name(answer);
    refuse(kOffsetCommit, {answer, answer});
    const Status status = reader->acknowledge(got.back().topic, got.back().partition, got.back().position);
    EXPECT_TRUE(status) << rd_kafka_err2name(answer) << ": " << status.error().message;
    next += 5;
  }
  reader.reset();
  publish_until_done(*out, next, 5);
  EXPECT_EQ(numbers(receive(*join("g"), 5)), range(next, 5));
}

TEST_F(KafkaRefusals, AMemberWhoseGenerationIsOverIsFencedAndReadsAgain) {
  const auto out = publisher();
  const auto reader = join("g");
  publish_until_done(*out, 0, 5);
  for (const auto answer : Answers{RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID}) {
    const auto got = receive(*reader, 5);
    ASSERT_EQ(numbers(got), range(0, 5)) << rd_kafka_err2name(answer);
    refuse(kOffsetCommit, {answer});
    const Status status = reader->acknowledge(got.back().topic, got.back().partition, got.back().position);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kFenced) << status.error().message;
  }
  acknowledge(*reader, receive(*reader, 5).back());
  publish_until_done(*out, 5, 5);
  EXPECT_EQ(numbers(receive(*reader, 5)), range(5, 5));
}

TEST_F(KafkaRefusals, AnAcknowledgementThatLastsIsRefusedAndComesAgain) {
  const auto out = publisher();
  const auto reader = join("g");
  publish_until_done(*out, 0, 5);
  const auto got = receive(*reader, 5);
  refuse_lastingly(kOffsetCommit, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS);
  expect_refused(reader->acknowledge(got.back().topic, 0, got.back().position), Code::kUnavailable, true,
                 RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS);
  allow(kOffsetCommit);
  refuse_lastingly(kOffsetCommit, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);  // the last try may still be on its way
  expect_refused(reader->acknowledge(got.back().topic, 0, got.back().position), Code::kPermission, false,
                 RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
  allow(kOffsetCommit);
  acknowledge(*reader, got.back());
  publish_until_done(*out, 5, 5);
  EXPECT_EQ(numbers(receive(*reader, 5)), range(5, 5));
}

TEST_F(KafkaRefusals, AGroupFollowsItsCoordinator) {
  const auto out = publisher();
  const auto reader = join("g");
  for (int i = 0; i < 3; ++i) {
    rd_kafka_mock_coordinator_set(cluster_.get(), "group", (prefix_ + "g").c_str(), 1 + i);
    publish_until_done(*out, i * 5, 5);
    acknowledge(*reader, receive(*reader, 5).back());
  }
}

TEST_F(KafkaRefusals, AGroupThatMayNotBeJoinedHasNoPermission) {
  for (const Request request : {kFindCoordinator, kOffsetFetch}) {
    refuse_lastingly(request, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    SubscriptionOptions options;
    options.patterns = {kTopic};
    options.group = "g" + std::to_string(request);
    const auto reader = bus_->subscribe(options);
    expect_refused(reader ? Status() : fail(reader.error()), Code::kPermission, false,
                   RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    allow(request);
  }
  refuse_lastingly(kJoinGroup, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
  const auto reader = join("g");
  Status status;
  ASSERT_TRUE(eventually([&] {
    const auto got = reader->poll(10, 1 << 20, kSecond / 10);
    if (!got) status = fail(got.error());
    return !got;
  }));
  expect_refused(status, Code::kPermission, false, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
  allow(kJoinGroup);
}

}  // namespace
}  // namespace utp::kafka_bus_test
