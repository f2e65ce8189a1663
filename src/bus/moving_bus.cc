#include "bus/moving_bus.h"

#include "core/log.h"

namespace utp {

class MovingBus::MovingPublisher final : public Publisher {
 public:
  MovingPublisher(MovingBus& bus, PublisherOptions options, std::unique_ptr<Publisher> inner) : bus_(bus), options_(options), inner_(std::move(inner)) {
    const std::lock_guard lock(bus_.mutex_);
    bus_.publishers_.insert(this);
  }
  ~MovingPublisher() override {
    const std::shared_lock gate(bus_.gate_);  // move() may be at it
    {
      const std::lock_guard lock(bus_.mutex_);
      bus_.publishers_.erase(this);
    }
    inner_.reset();  // while its bus is there
  }

  Status publish(std::span<const OutMessage> messages) override {
    const std::shared_lock gate(bus_.gate_);
    UTP_CHECK(ensure());
    return inner_->publish(messages);
  }
  Status sync() override {
    const std::shared_lock gate(bus_.gate_);
    UTP_CHECK(ensure());
    return inner_->sync();
  }
  // The gate is held alone.
  void leave() {
    if (!inner_) return;
    if (const auto synced = inner_->sync(); !synced) log::warn("the bus that is left did not confirm the last messages", {{"error", synced.error().message}});
    inner_.reset();
  }

 private:
  Status ensure() {
    if (inner_) return {};
    UTP_TRY(inner_, bus_.bus_->publisher(options_));
    return {};
  }

  MovingBus& bus_;
  const PublisherOptions options_;
  std::unique_ptr<Publisher> inner_;
};

std::shared_ptr<Bus> MovingBus::now() const {
  const std::shared_lock gate(gate_);
  return bus_;
}

Status MovingBus::configure_topic(std::string_view topic, const TopicOptions& options) {
  const std::shared_lock gate(gate_);
  UTP_CHECK(bus_->configure_topic(topic, options));
  const std::lock_guard lock(mutex_);
  topics_.insert_or_assign(std::string(topic), options);
  return {};
}

Result<std::unique_ptr<Publisher>> MovingBus::publisher(const PublisherOptions& options) {
  const std::shared_lock gate(gate_);
  UTP_TRY(auto inner, bus_->publisher(options));
  return std::unique_ptr<Publisher>(std::make_unique<MovingPublisher>(*this, options, std::move(inner)));
}

Status MovingBus::prepare(Bus& next) const {
  std::map<std::string, TopicOptions, std::less<>> topics;
  {
    const std::lock_guard lock(mutex_);
    topics = topics_;
  }
  for (const auto& [topic, options] : topics) UTP_CHECK(next.configure_topic(topic, options));
  return {};
}

void MovingBus::move(const std::function<std::shared_ptr<Bus>(std::shared_ptr<Bus>)>& replace) {
  const std::unique_lock gate(gate_);
  {
    const std::lock_guard lock(mutex_);
    for (MovingPublisher* publisher : publishers_) publisher->leave();
  }
  bus_ = replace(std::move(bus_));
}

}  // namespace utp
