// GatedBus: a bus that can be closed to new messages: publish() then says kFull (retryable), which makes a spool in front of it
// spool, and a connector without one wait, conflate and at last stop. Dead letters always pass: who writes them would otherwise
// never get on to read what fills the bus.
//
// Threads: as Bus says.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>

#include "bus/bus.h"
#include "model/envelope.h"

namespace utp {

class GatedBus final : public Bus {
 public:
  explicit GatedBus(std::shared_ptr<Bus> bus) : bus_(std::move(bus)), gate_(std::make_shared<Gate>()) {}

  // "" opens it; else publishers get this as the reason.
  void close(std::string reason) {
    const std::lock_guard lock(gate_->mutex);
    gate_->reason = std::move(reason);
  }

  Status configure_topic(std::string_view topic, const TopicOptions& options) override { return bus_->configure_topic(topic, options); }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    UTP_TRY(auto inner, bus_->publisher(options));
    return std::unique_ptr<Publisher>(std::make_unique<GatedPublisher>(std::move(inner), gate_));
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return bus_->subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return bus_->stats(pattern); }
  Status trim() override { return bus_->trim(); }
  Status delete_group(std::string_view group) override { return bus_->delete_group(group); }

 private:
  struct Gate {
    std::mutex mutex;
    std::string reason;
  };
  class GatedPublisher final : public Publisher {
   public:
    GatedPublisher(std::unique_ptr<Publisher> inner, std::shared_ptr<Gate> gate) : inner_(std::move(inner)), gate_(std::move(gate)) {}
    Status publish(std::span<const OutMessage> messages) override {
      {
        const std::lock_guard lock(gate_->mutex);
        const bool only_letters = std::all_of(messages.begin(), messages.end(), [](const OutMessage& m) { return is_dead_letter_topic(m.topic); });
        if (!gate_->reason.empty() && !only_letters) return fail(Code::kFull, gate_->reason, true);
      }
      return inner_->publish(messages);
    }
    Status sync() override { return inner_->sync(); }

   private:
    std::unique_ptr<Publisher> inner_;
    std::shared_ptr<Gate> gate_;
  };

  std::shared_ptr<Bus> bus_;
  std::shared_ptr<Gate> gate_;
};

}  // namespace utp
