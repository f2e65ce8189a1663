// MovingBus: a bus that can be changed for another while it is published to. Publishers that were handed out go over to the new
// bus with their next call; what they had published before was synced. Subscriptions stay with the bus they were made on:
// who reads finishes there and then subscribes anew.
//
// Threads: as Bus says.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>

#include "bus/bus.h"

namespace utp {

class MovingBus final : public Bus {
 public:
  explicit MovingBus(std::shared_ptr<Bus> bus) : bus_(std::move(bus)) {}

  Status configure_topic(std::string_view topic, const TopicOptions& options) override;
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override;
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return now()->subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return now()->stats(pattern); }
  Status trim() override { return now()->trim(); }
  Status delete_group(std::string_view group) override { return now()->delete_group(group); }

  // Every topic that was configured here, on the bus that is to be next.
  Status prepare(Bus& next) const;
  // While nobody publishes, `replace` gets the bus (no publisher is left on it) and returns the one that takes its place.
  void move(const std::function<std::shared_ptr<Bus>(std::shared_ptr<Bus>)>& replace);

 private:
  class MovingPublisher;
  std::shared_ptr<Bus> now() const;

  mutable std::shared_mutex gate_;  // held shared by who publishes, alone by move()
  std::shared_ptr<Bus> bus_;
  mutable std::mutex mutex_;  // guards below
  std::map<std::string, TopicOptions, std::less<>> topics_;
  std::set<MovingPublisher*> publishers_;
};

}  // namespace utp
