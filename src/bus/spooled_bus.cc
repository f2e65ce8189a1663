#include "bus/spooled_bus.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "core/backoff.h"
#include "core/log.h"

namespace utp {
namespace {

constexpr const char* kGroup = "utp-spool";
constexpr std::size_t kForwardMessages = 1000;
constexpr std::size_t kForwardBytes = 4u << 20;
constexpr std::int64_t kLookNs = 20'000'000;  // when another process forwards what this one waits for

}  // namespace

class SpooledBus::SpooledPublisher final : public Publisher {
 public:
  SpooledPublisher(SpooledBus& bus, PublisherOptions options, std::unique_ptr<Publisher> spool)
      : bus_(bus), options_(options), spool_(std::move(spool)) {}

  Status publish(std::span<const OutMessage> messages) override {
    const std::shared_lock gate(bus_.gate_);
    if (!bus_.spooling_) {
      auto status = direct(messages);
      if (status || !status.error().retryable) return status;
      bus_.start_spooling(status.error());
    }
    return spool_->publish(messages);
  }

  Status sync() override {
    UTP_CHECK(spool_->sync());
    return remote_ && !bus_.spooling_ ? remote_->sync() : Status();
  }

 private:
  Status direct(std::span<const OutMessage> messages) {
    if (!remote_) {
      UTP_TRY(remote_, bus_.remote_->publisher(options_));
    }
    return remote_->publish(messages);
  }

  SpooledBus& bus_;
  const PublisherOptions options_;
  std::unique_ptr<Publisher> spool_;
  std::unique_ptr<Publisher> remote_;  // made when the remote bus is first there
};

SpooledBus::SpooledBus(std::shared_ptr<Bus> remote, std::unique_ptr<Bus> spool, SpoolOptions options)
    : remote_(std::move(remote)), spool_(std::move(spool)), options_(std::move(options)), random_(std::random_device{}()) {}

Result<std::unique_ptr<SpooledBus>> SpooledBus::create(std::shared_ptr<Bus> remote, std::unique_ptr<Bus> spool, SpoolOptions options) {
  std::unique_ptr<SpooledBus> bus(new SpooledBus(std::move(remote), std::move(spool), std::move(options)));
  UTP_TRY(const std::uint64_t left, bus->waiting());
  bus->spooling_ = left > 0;  // of an earlier process: first come, first served
  bus->thread_ = std::thread([raw = bus.get()] { raw->run(); });
  return bus;
}

SpooledBus::~SpooledBus() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Status SpooledBus::configure_topic(std::string_view topic, const TopicOptions& options) {
  TopicOptions kept = options;
  kept.retention_ns = kSpoolKeptNs;  // of what was forwarded: what waits, waits as long as it must
  kept.retention_bytes = 0;
  UTP_CHECK(spool_->configure_topic(topic, kept));
  const std::shared_lock gate(gate_);
  auto status = remote_->configure_topic(topic, options);
  if (status || !status.error().retryable) return status;
  {
    const std::lock_guard lock(mutex_);
    topics_waiting_.insert_or_assign(std::string(topic), options);
  }
  start_spooling(status.error());
  return {};
}

Result<std::unique_ptr<Publisher>> SpooledBus::publisher(const PublisherOptions& options) {
  UTP_TRY(auto spool, spool_->publisher(options));
  return std::unique_ptr<Publisher>(std::make_unique<SpooledPublisher>(*this, options, std::move(spool)));
}

Result<std::uint64_t> SpooledBus::waiting(Timestamp* oldest) const {
  std::uint64_t count = 0;
  for (const char* const pattern : {">", ">.dlq"}) {
    UTP_TRY(const auto topics, spool_->stats(pattern));
    for (const TopicStats& topic : topics) {
      const auto group = std::find_if(topic.groups.begin(), topic.groups.end(), [](const GroupStats& g) { return g.group == kGroup; });
      // A topic that the group has not begun waits whole.
      const std::uint64_t lag = group == topic.groups.end() ? topic.messages : group->lag;
      if (lag == 0) continue;
      count += lag;
      const Timestamp first = group == topic.groups.end() ? topic.first_time : group->oldest_unread;
      if (oldest != nullptr && (oldest->ns == 0 || first < *oldest)) *oldest = first;
    }
  }
  return count;
}

Result<SpoolStats> SpooledBus::spool_stats() const {
  SpoolStats stats;
  UTP_TRY(stats.waiting, waiting(&stats.oldest));
  stats.spooling = spooling_;
  const std::lock_guard lock(mutex_);
  stats.forwarded = forwarded_;
  stats.refused = refused_;
  stats.last_error = last_error_;
  return stats;
}

void SpooledBus::start_spooling(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    last_error_ = error.message;
    if (spooling_.exchange(true)) return;
  }
  log::warn("the bus does not take messages; they go to the disk spool", {{"error", error.message}});
  changed_.notify_all();
}

bool SpooledBus::pause(std::int64_t ns) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, std::chrono::nanoseconds(ns), [&] { return ending_; });
}

void SpooledBus::run() {
  std::unique_ptr<Subscription> subscription;
  unsigned attempt = 0;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return ending_ || spooling_; });
      if (ending_) break;
    }
    auto status = [&]() -> Status {
      if (!subscription) {
        UTP_TRY(subscription, spool_->subscribe({.patterns = {">", ">.dlq"}, .group = kGroup, .lease_ns = options_.lease_ns}));
      }
      return forward_some(*subscription);
    }();
    if (status) {
      attempt = 0;
      continue;
    }
    bool changed = false;
    {
      const std::lock_guard lock(mutex_);
      changed = last_error_ != status.error().message;
      last_error_ = status.error().message;
    }
    if (changed) log::warn("the disk spool cannot be forwarded yet", {{"error", status.error().message}});
    // What was read and not acknowledged comes again.
    if (subscription && !subscription->rewind()) subscription.reset();
    if (!pause(full_jitter_ns(random_, options_.retry_min_ns, options_.retry_max_ns, attempt++))) break;
  }
}

Status SpooledBus::configure_waiting() {
  for (;;) {
    std::string topic;
    TopicOptions options;
    {
      const std::lock_guard lock(mutex_);
      if (topics_waiting_.empty()) return {};
      topic = topics_waiting_.begin()->first;
      options = topics_waiting_.begin()->second;
    }
    const auto status = remote_->configure_topic(topic, options);
    if (!status && status.error().retryable) return status;
    if (!status) log::error("the bus refuses a topic", {{"topic", topic}, {"error", status.error().message}});
    const std::lock_guard lock(mutex_);
    const auto at = topics_waiting_.find(topic);
    if (at != topics_waiting_.end()) topics_waiting_.erase(at);
  }
}

Status SpooledBus::forward_some(Subscription& subscription) {
  UTP_TRY(const auto messages, subscription.poll(kForwardMessages, kForwardBytes, 0));
  UTP_CHECK(configure_waiting());
  if (messages.empty()) return end_when_empty();
  UTP_CHECK(forward(messages));
  std::map<std::pair<std::string_view, std::uint32_t>, std::uint64_t> last;
  for (const InMessage& message : messages) {
    std::uint64_t& position = last[{message.topic, message.partition}];
    position = std::max(position, message.position);
  }
  for (const auto& [place, position] : last) UTP_CHECK(subscription.acknowledge(place.first, place.second, position));
  return {};
}

Status SpooledBus::forward(std::span<const InMessage> messages) {
  if (!forwarder_) {
    UTP_TRY(forwarder_, remote_->publisher({.durability = options_.durability}));
  }
  std::vector<OutMessage> out;
  out.reserve(messages.size());
  for (const InMessage& message : messages) out.push_back({message.topic, message.key, message.value});
  auto status = forwarder_->publish(out);
  if (!status && status.error().code != Code::kInvalidArgument) return status;
  std::uint64_t refused = 0;
  for (std::size_t i = 0; !status && i < out.size(); ++i) {  // one of them is refused: each by itself
    const auto single = forwarder_->publish({&out[i], 1});
    if (single) continue;
    if (single.error().code != Code::kInvalidArgument) return single;
    ++refused;
    if (options_.refused) options_.refused(messages[i], single.error());
    else log::error("the bus refuses a message of the spool", {{"topic", std::string(out[i].topic)}, {"error", single.error().message}});
  }
  const std::lock_guard lock(mutex_);
  forwarded_ += messages.size() - refused;
  refused_ += refused;
  last_error_.clear();
  return {};
}

// Nothing was there to read. Empty it is only when nothing waits at all: another process may hold the lease.
Status SpooledBus::end_when_empty() {
  UTP_TRY(const std::uint64_t before, waiting());
  if (before > 0) {
    (void)pause(kLookNs);
    return {};
  }
  const std::unique_lock gate(gate_);
  UTP_TRY(const std::uint64_t left, waiting());
  if (left > 0) return {};
  const std::lock_guard lock(mutex_);
  if (!topics_waiting_.empty()) return {};
  spooling_ = false;
  last_error_.clear();
  log::info("the disk spool is empty; messages go to the bus again", {{"forwarded", std::to_string(forwarded_)}});
  return {};
}

}  // namespace utp
