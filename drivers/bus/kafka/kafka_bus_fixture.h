// What the tests of the Kafka bus share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bus/testing/bus_fixture.h"
#include "drivers/bus/kafka/kafka_bus.h"
#include "drivers/bus/kafka/kafka_server.h"

namespace utp::kafka_bus_test {

using namespace bus_test;

class BusFixture : public bus_test::BusFixture {
 protected:
  void SetUp() override {
    if (const std::string reason = KafkaServer::missing(); !reason.empty()) GTEST_SKIP() << reason;
    log::set_level(log::Level::kOff);  // brokers that go away are what is tested
    prefix_ = KafkaServer::new_prefix();
  }
  void TearDown() override {
    bus_.reset();  // while its broker is there
    log::set_level(log::Level::kInfo);
  }
  // On the broker that all tests share.
  void start() { open_on(KafkaServer::shared()); }
  // On one of its own, which the test may kill.
  void start_own(std::string settings = {}) {
    own_ = std::make_unique<KafkaServer>(std::move(settings));
    ASSERT_TRUE(own_->is_running()) << "see " << own_->folder() << "/output";
    open_on(*own_);
  }
  void open_on(KafkaServer& server) {
    options_ = server.options(prefix_);
    options_.answer_timeout_ns = 2 * kSecond;
    bus_ = open(options_);
    ASSERT_NE(bus_, nullptr);
  }
  std::unique_ptr<Bus> open(const KafkaBusOptions& options) { return made(open_kafka_bus(options)); }
  static std::vector<Message> receive(Subscription& subscription, std::size_t count) {
    return bus_test::receive(subscription, count, Counted::kDifferent);
  }
  static void acknowledge(Subscription& subscription, const Message& message) {
    Status status = subscription.acknowledge(message.topic, message.partition, message.position);
    for (const auto end = steady_ns() + kPatience; !status && status.error().retryable && steady_ns() < end;) {
      status = subscription.acknowledge(message.topic, message.partition, message.position);
    }
    EXPECT_TRUE(status) << status.error().message;
  }

  std::string prefix_;
  KafkaBusOptions options_;
  std::unique_ptr<KafkaServer> own_;
};

}  // namespace utp::kafka_bus_test
