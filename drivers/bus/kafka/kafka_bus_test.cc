// What is Kafka's own in the bus on Kafka; the contract is in kafka_bus_contract_test.cc.
#include <map>
#include <mutex>
#include <set>

#include "drivers/bus/kafka/admin.h"
#include "drivers/bus/kafka/kafka_bus_fixture.h"
#include "drivers/bus/kafka/note.h"

namespace utp::kafka_bus_test {
namespace {

// ---- URL ----

TEST(KafkaUrl, NamesServersUserAndOptions) {
  const auto plain = parse_kafka_url("kafka://broker");
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->servers, "broker:9092");
  EXPECT_EQ(plain->user, "");
  const auto full = parse_kafka_url(
      "kafka://me:p%40ss@a:9093,[::1],c/"
      "?security=sasl_ssl&mechanism=SCRAM-SHA-512&prefix=eu.&replication=3&ssl.ca.location=%2Fetc%2Fca.pem");
  ASSERT_TRUE(full) << full.error().message;
  EXPECT_EQ(full->servers, "a:9093,[::1]:9092,c:9092");
  EXPECT_EQ(full->user, "me");
  EXPECT_EQ(full->password, "p@ss");
  EXPECT_EQ(full->security, "sasl_ssl");
  EXPECT_EQ(full->mechanism, "SCRAM-SHA-512");
  EXPECT_EQ(full->prefix, "eu.");
  EXPECT_EQ(full->replication, 3);
  EXPECT_EQ(full->properties.at("ssl.ca.location"), "/etc/ca.pem");
}

TEST(KafkaUrl, TakesThePasswordFromTheEnvironment) {
  ::setenv("UTP_KAFKA_PASSWORD", "from-env", 1);
  EXPECT_EQ(parse_kafka_url("kafka://me@h")->password, "from-env");
  EXPECT_EQ(parse_kafka_url("kafka://me:own@h")->password, "own");
  EXPECT_EQ(parse_kafka_url("kafka://h")->password, "");
  ::unsetenv("UTP_KAFKA_PASSWORD");
}

TEST(KafkaUrl, RefusesWhatItCannotRead) {
  for (const char* url :
       {"redis://h", "kafka://", "kafka://h:0", "kafka://h:port", "kafka://,h", "kafka://[::1",
        "kafka://h?security=tls", "kafka://h?replication=0", "kafka://h?unknown=1", "kafka://secret%zz:x@h"}) {
    const auto options = parse_kafka_url(url);
    ASSERT_FALSE(options) << url;
    EXPECT_EQ(options.error().code, Code::kInvalidArgument) << url;
    EXPECT_EQ(options.error().message.find("secret"), std::string::npos) << options.error().message;
  }
}

TEST(KafkaUrl, ErrorsOfSettingsNameThemAndShowNoValue) {
  KafkaBusOptions options;
  options.properties["ssl.key.password.of.mine"] = "hidden-value";
  const auto bus = open_kafka_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kInvalidArgument);
  EXPECT_NE(bus.error().message.find("ssl.key.password.of.mine"), std::string::npos);
  EXPECT_EQ(bus.error().message.find("hidden-value"), std::string::npos);
}

TEST(KafkaUrl, NobodyThereIsToldWithinTheConnectTimeout) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << KafkaServer::missing();
#endif
  KafkaBusOptions options;
  options.servers = "127.0.0.1:1";
  options.connect_timeout_ns = kSecond / 2;
  log::set_level(log::Level::kOff);
  const auto bus = open_kafka_bus(options);
  log::set_level(log::Level::kInfo);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnavailable);
  EXPECT_TRUE(bus.error().retryable);
}

// ---- notes ----

TEST(KafkaNote, ReadsWhatItWroteAndNothingElse) {
  kafka_bus::Note note;
  note.trimmed = 7;
  note.reported = 5;
  note.acknowledged_time = {123};
  note.open = true;
  note.passes.add(42);
  const auto read = kafka_bus::Note::read(note.write());
  EXPECT_EQ(read.write(), note.write());
  EXPECT_EQ(read.passes.attempt(42), 2u);
  for (const char* other : {"", "of another program", "utp1 x"})
    EXPECT_EQ(kafka_bus::Note::read(other).write(), kafka_bus::Note().write());
}

// ---- on a broker ----

class KafkaBus : public BusFixture {
 protected:
  void SetUp() override {
    BusFixture::SetUp();
    if (!IsSkipped()) start();
  }
  std::string name(const std::string& topic = kTopic) const { return prefix_ + topic; }
  kafka_bus::Client client(rd_kafka_type_t type) {
    auto made = kafka_bus::new_client(
        type, options_,
        type == RD_KAFKA_CONSUMER
            ? std::vector<kafka_bus::Setting>{{"group.id", "another"}, {"auto.offset.reset", "earliest"}}
            : std::vector<kafka_bus::Setting>{});
    EXPECT_TRUE(made);
    return made ? std::move(*made) : nullptr;
  }
};

TEST_F(KafkaBus, OtherProgramsFindTheTopicsPartsInHeaders) {
  const std::string topic = "utp.prod.chamber_us.gex.levels.v1";
  const auto out = publisher();
  const OutMessage message{topic, "SPX", "{}"};
  ASSERT_TRUE(out->publish({&message, 1}));
  const auto reader = client(RD_KAFKA_CONSUMER);
  const auto list = kafka_bus::new_list();
  kafka_bus::add(list, name(topic), 0, 0);
  ASSERT_EQ(rd_kafka_assign(reader.get(), list.get()), RD_KAFKA_RESP_ERR_NO_ERROR);
  rd_kafka_message_t* record = nullptr;
  ASSERT_TRUE(
      eventually([&] { return (record = rd_kafka_consumer_poll(reader.get(), 100)) != nullptr && !record->err; }));
  rd_kafka_headers_t* headers = nullptr;
  ASSERT_EQ(rd_kafka_message_headers(record, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
  std::map<std::string, std::string> found;
  const char* header = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &header, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++i) {
    found[header] = std::string(static_cast<const char*>(value), size);
  }
  EXPECT_EQ(found["utp-realm"], "prod");
  EXPECT_EQ(found["utp-region"], "chamber_us");
  EXPECT_EQ(found["utp-type"], "gex/levels/v1");
  EXPECT_EQ(found.size(), 3u);
  EXPECT_EQ(std::string(static_cast<const char*>(record->key), record->key_len), "SPX");
  rd_kafka_message_destroy(record);
}

TEST_F(KafkaBus, ReadsWhatOtherProgramsPublish) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {}));
  const auto writer = client(RD_KAFKA_PRODUCER);
  ASSERT_EQ(rd_kafka_producev(writer.get(), RD_KAFKA_V_TOPIC(name().c_str()), RD_KAFKA_V_PARTITION(0),
                              RD_KAFKA_V_VALUE(const_cast<char*>("5"), 1), RD_KAFKA_V_TIMESTAMP(1'700'000'000'123),
                              RD_KAFKA_V_END),
            RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(rd_kafka_flush(writer.get(), 30'000), RD_KAFKA_RESP_ERR_NO_ERROR);
  const auto reader = subscribe("g");
  ASSERT_EQ(receive(*reader, 1)[0].number, 5);
  EXPECT_EQ(stats().first_time.ns, 1'700'000'000'123'000'000);
}

TEST_F(KafkaBus, RetentionIsTheTopicsOwnInKafkaToo) {
  ASSERT_TRUE(
      bus_->configure_topic(kTopic, {.partitions = 2, .retention_ns = 3600 * kSecond, .retention_bytes = 64 << 20}));
  const auto asking = client(RD_KAFKA_PRODUCER);
  const kafka_bus::Admin admin(asking.get(), options_);
  auto settings = admin.topic_settings({name()}, false);
  ASSERT_TRUE(settings);
  EXPECT_EQ((*settings)[name()]["retention.ms"], "3600000");
  EXPECT_EQ((*settings)[name()]["retention.bytes"], std::to_string(32 << 20));
  EXPECT_EQ((*settings)[name()]["segment.bytes"], std::to_string(4 << 20));
  ASSERT_TRUE(admin.change_settings(name(), {{"flush.messages", "1"}}));
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2, .retention_ns = 0}));
  settings = admin.topic_settings({name()}, false);
  ASSERT_TRUE(settings);
  EXPECT_EQ((*settings)[name()]["retention.ms"], "-1");
  EXPECT_EQ((*settings)[name()]["flush.messages"], "1") << "what the operator has set stays";
}

TEST_F(KafkaBus, DeadLetterTopicsAreTopicsLikeOthers) {
  const std::string dead = std::string(kTopic) + ".dlq";
  const auto out = publisher();
  publish_until_done(*out, 0, 3, {.topic = dead});
  const auto reader = subscribe("g", {}, dead);
  acknowledge(*reader, receive(*reader, 3).back());
  EXPECT_EQ(stats(dead).groups.at(0).lag, 0u);
}

TEST_F(KafkaBus, BusesWithPrefixesDoNotSeeEachOther) {
  auto other_options = options_;
  other_options.prefix = KafkaServer::new_prefix();
  const auto other = open(other_options);
  publish_until_done(*publisher(), 0, 2);
  const auto reader = subscribe("g");
  receive(*reader, 2);
  const auto all = other->stats(">");
  ASSERT_TRUE(all);
  EXPECT_TRUE(all->empty());
}

TEST_F(KafkaBus, AGroupWithMembersIsNotDeleted) {
  publish_until_done(*publisher(), 0, 2);
  auto reader = subscribe("g");
  receive(*reader, 2);
  const auto refused = bus_->delete_group("g");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  reader.reset();
  EXPECT_TRUE(bus_->delete_group("g"));
  EXPECT_TRUE(bus_->delete_group("never-was"));
}

TEST_F(KafkaBus, AGroupWhoseOffsetsWereRemovedBeginsAnew) {
  publish_until_done(*publisher(), 0, 4);
  auto reader = subscribe("g");
  acknowledge(*reader, receive(*reader, 4).back());
  reader.reset();
  const auto asking = client(RD_KAFKA_PRODUCER);
  ASSERT_TRUE(kafka_bus::Admin(asking.get(), options_).delete_group(prefix_ + "g"));
  EXPECT_EQ(numbers(receive(*subscribe("g"), 4)), range(0, 4));
}

TEST_F(KafkaBus, RecordsRemovedUnderAReaderAreCountedAsLost) {
  const auto out = publisher();
  publish_until_done(*out, 0, 100);
  const auto reader = subscribe("g");
  const auto lone = subscribe();
  auto got = reader->poll(10, 1 << 20, kPatience);
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 10u);
  ASSERT_TRUE(lone->poll(10, 1 << 20, kPatience));
  const auto asking = client(RD_KAFKA_PRODUCER);
  ASSERT_TRUE(kafka_bus::Admin(asking.get(), options_).delete_records({{{name(), 0}, 60}}));
  std::this_thread::sleep_for(std::chrono::milliseconds(60));  // what was read ahead is old enough to be looked up
  EXPECT_EQ(numbers(receive(*reader, 40)), range(60, 40));
  EXPECT_EQ(lost(*reader), 60u) << "none was acknowledged";
  EXPECT_EQ(lost(*reader), 0u);
  EXPECT_EQ(numbers(receive(*lone, 40)), range(60, 40));
  EXPECT_EQ(lost(*lone), 50u);
}

// ---- members ----

TEST_F(KafkaBus, MembersComeAndGoAndNothingAcknowledgedComesAgain) {
  constexpr int kMessages = 3000;
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 6}));
  std::mutex mutex;
  std::set<int> acknowledged;
  std::vector<std::string> wrong;
  const auto member = [&](const std::function<bool()>& goes_on) {
    const auto reader = subscribe("g");
    while (goes_on()) {
      const auto got = reader->poll(20, 1 << 20, kSecond / 20);
      if (!got) continue;
      for (const InMessage& m : *got) {
        const int number = std::stoi(std::string(m.value));
        {
          std::lock_guard lock(mutex);
          if (acknowledged.contains(number))
            wrong.push_back(std::to_string(number) + " came after it was acknowledged");
        }
        if (!reader->acknowledge(m.topic, m.partition, m.position)) break;  // fenced: another gets it
        std::lock_guard lock(mutex);
        acknowledged.insert(number);
      }
    }
  };
  const auto done = [&](std::size_t count) {
    std::lock_guard lock(mutex);
    return acknowledged.size() >= count;
  };
  const auto end = steady_ns() + kPatience;
  const auto until = [&](std::size_t count) { return [&, count] { return !done(count) && steady_ns() < end; }; };
  std::thread writer([&] {
    const auto out = publisher();
    for (int i = 0; i < kMessages; i += 50) publish_until_done(*out, i, 50, {.is_keyed = true});
  });
  std::thread first([&] { member(until(kMessages)); });
  std::thread second([&] { member(until(kMessages / 2)); });
  std::thread third([&] {
    (void)eventually([&] { return done(kMessages / 6); });
    member(until(kMessages));
  });
  for (std::thread* thread : {&writer, &first, &second, &third}) thread->join();
  EXPECT_EQ(acknowledged.size(), static_cast<std::size_t>(kMessages));
  EXPECT_TRUE(wrong.empty()) << wrong.size() << ", such as " << wrong.front();
}

TEST_F(KafkaBus, AMessageThatSilencesItsReadersShowsAGrowingAttempt) {
  publish_until_done(*publisher(), 0, 1);
  std::vector<std::unique_ptr<Subscription>> silent;
  for (const std::uint32_t attempt : {1u, 1u, 2u}) {  // of the first, nobody knew that it would be silent
    silent.push_back(subscribe("g", {}, kTopic, 3 * kSecond));
    EXPECT_EQ(receive(*silent.back(), 1).at(0).attempt, attempt);
  }
}

}  // namespace
}  // namespace utp::kafka_bus_test
