// MemoryBus: a bus that records what is published and fails on demand, for tests of what publishes.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"

namespace utp::testing {

class MemoryBus final : public Bus {
 public:
  struct Message {
    std::string topic, key, value;
  };

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    std::lock_guard lock(mutex_);
    topics_[std::string(topic)] = options;
    return {};
  }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions&) override {
    return std::make_unique<MemoryPublisher>(*this);
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions&) override {
    return fail(Code::kUnsupported, "a MemoryBus is written to only");
  }
  Result<std::vector<TopicStats>> stats(std::string_view) override { return std::vector<TopicStats>{}; }
  Status trim() override { return {}; }
  Status delete_group(std::string_view) override { return {}; }

  // Every publish fails with this until it is taken back, from the one after `good` more on.
  void fail_with(std::optional<Error> error, std::size_t good = 0) {
    std::lock_guard lock(mutex_);
    error_ = std::move(error);
    good_left_ = good;
  }
  // Messages whose value contains this are refused as kInvalidArgument.
  void refuse_values_with(std::string text) {
    std::lock_guard lock(mutex_);
    refused_ = std::move(text);
  }
  std::vector<Message> messages() const {
    std::lock_guard lock(mutex_);
    return messages_;
  }
  std::vector<Message> messages(const std::string& topic) const {
    std::vector<Message> found;
    for (const Message& m : messages()) {
      if (m.topic == topic) found.push_back(m);
    }
    return found;
  }
  void clear() {
    std::lock_guard lock(mutex_);
    messages_.clear();
  }
  std::map<std::string, TopicOptions> topics() const {
    std::lock_guard lock(mutex_);
    return topics_;
  }
  std::size_t publishes() const {  // tried
    std::lock_guard lock(mutex_);
    return publishes_;
  }
  std::size_t largest_publish() const {
    std::lock_guard lock(mutex_);
    return largest_;
  }

 private:
  class MemoryPublisher final : public Publisher {
   public:
    explicit MemoryPublisher(MemoryBus& bus) : bus_(bus) {}
    Status publish(std::span<const OutMessage> messages) override {
      std::lock_guard lock(bus_.mutex_);
      ++bus_.publishes_;
      if (bus_.error_ && bus_.good_left_-- == 0) {
        bus_.good_left_ = 0;
        return fail(*bus_.error_);
      }
      for (const OutMessage& m : messages) {
        if (!bus_.refused_.empty() && m.value.find(bus_.refused_) != std::string_view::npos) {
          return fail(Code::kInvalidArgument, "a message with " + bus_.refused_ + " is refused");
        }
      }
      bus_.largest_ = std::max(bus_.largest_, messages.size());
      for (const OutMessage& m : messages) bus_.messages_.push_back({std::string(m.topic), std::string(m.key), std::string(m.value)});
      return {};
    }
    Status sync() override { return {}; }

   private:
    MemoryBus& bus_;
  };

  mutable std::mutex mutex_;
  std::optional<Error> error_;
  std::string refused_;
  std::vector<Message> messages_;
  std::map<std::string, TopicOptions> topics_;
  std::size_t largest_ = 0, publishes_ = 0, good_left_ = 0;
};

}  // namespace utp::testing
