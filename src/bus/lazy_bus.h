// LazyBus: a bus whose server may be away when a program starts. Every call opens it first, at most once a second; until that
// works it returns the error of the last attempt. What is wrong for good (a refused password) is for who opens to find out first.
//
// Threads: as Bus says.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "bus/bus.h"

namespace utp {

class LazyBus final : public Bus {
 public:
  using Open = std::function<Result<std::unique_ptr<Bus>>()>;
  LazyBus(Open open, Error first) : open_(std::move(open)), error_(std::move(first)), next_(now() + kPause) {}

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    UTP_TRY(Bus* const bus, opened());
    return bus->configure_topic(topic, options);
  }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    UTP_TRY(Bus* const bus, opened());
    return bus->publisher(options);
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    UTP_TRY(Bus* const bus, opened());
    return bus->subscribe(options);
  }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override {
    UTP_TRY(Bus* const bus, opened());
    return bus->stats(pattern);
  }
  Status trim() override {
    UTP_TRY(Bus* const bus, opened());
    return bus->trim();
  }
  Status delete_group(std::string_view group) override {
    UTP_TRY(Bus* const bus, opened());
    return bus->delete_group(group);
  }

 private:
  static constexpr std::chrono::seconds kPause{1};
  static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

  Result<Bus*> opened() {
    const std::lock_guard lock(mutex_);
    if (bus_) return bus_.get();
    if (now() < next_) return fail(error_);
    auto bus = open_();
    next_ = now() + kPause;
    if (!bus) {
      error_ = bus.error();
      return fail(error_);
    }
    bus_ = *std::move(bus);
    return bus_.get();
  }

  const Open open_;
  std::mutex mutex_;
  Error error_;
  std::chrono::steady_clock::time_point next_;
  std::unique_ptr<Bus> bus_;
};

}  // namespace utp
