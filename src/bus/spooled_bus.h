// SpooledBus: a remote bus with a disk spool in front. While the remote bus takes messages they go straight to it. When it does
// not (away, or full), they go to the spool instead, in order, and a thread forwards them when it takes messages again; what
// is published meanwhile queues behind them. Order per topic and key holds throughout, for each publisher. What is in the spool when the
// process ends is forwarded by the next one that opens it.
//
// publish() answers with what the spool says once it is in use: kFull (retryable) at the spool's limit. A forwarded message may
// arrive twice, as with any repeated publish; readers deduplicate. Reading, statistics and groups are the remote bus's.
//
// Threads: as Bus says.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "core/random.h"

namespace utp {

// What was forwarded leaves the spool's disk about so long after: the age limit of the spool's topics.
inline constexpr std::int64_t kSpoolKeptNs = 60'000'000'000;

struct SpoolOptions {
  Durability durability = Durability::kCommit;  // of what is forwarded, before it leaves the spool
  std::int64_t lease_ns = 10'000'000'000;  // of the partitions of a spool that several processes share
  std::int64_t retry_min_ns = 50'000'000;  // between two attempts at the remote bus: random, growing
  std::int64_t retry_max_ns = 5'000'000'000;
  // A message that the remote bus refuses as such (kInvalidArgument); it is left out behind this call. None: logged and counted.
  std::function<void(const InMessage&, const Error&)> refused;
};

struct SpoolStats {
  bool spooling = false;        // what is published goes to the spool now
  std::uint64_t waiting = 0;    // messages in the spool that the remote bus does not have
  Timestamp oldest;             // publish time of the oldest of them; 0 when none
  std::uint64_t forwarded = 0;  // by this process
  std::uint64_t refused = 0;    // by the remote bus, of those forwarded by this process
  std::string last_error;       // of the remote bus; "" when it takes messages
};

class SpooledBus final : public Bus {
 public:
  // `spool` keeps what is unread (EmbeddedBusOptions::keep_unread), or a full spool loses messages. Fails when it cannot be read.
  static Result<std::unique_ptr<SpooledBus>> create(std::shared_ptr<Bus> remote, std::unique_ptr<Bus> spool, SpoolOptions options = {});
  ~SpooledBus() override;

  // While the remote bus is away it is told later; an error that a repetition may mend is none here.
  Status configure_topic(std::string_view topic, const TopicOptions& options) override;
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override;
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return remote_->subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return remote_->stats(pattern); }
  Status trim() override { return remote_->trim(); }
  Status delete_group(std::string_view group) override { return remote_->delete_group(group); }

  Result<SpoolStats> spool_stats() const;

 private:
  class SpooledPublisher;

  SpooledBus(std::shared_ptr<Bus> remote, std::unique_ptr<Bus> spool, SpoolOptions options);
  void run();
  Status forward_some(Subscription& subscription);
  Status forward(std::span<const InMessage> messages);
  Status configure_waiting();
  Status end_when_empty();
  Result<std::uint64_t> waiting(Timestamp* oldest = nullptr) const;
  void start_spooling(const Error& error);  // gate_ is held
  bool pause(std::int64_t ns);              // false when it is time to end

  const std::shared_ptr<Bus> remote_;
  const std::unique_ptr<Bus> spool_;
  const SpoolOptions options_;
  std::unique_ptr<Publisher> forwarder_;  // made when it is first needed: the remote bus may be away

  // Held shared by whoever publishes, alone by what ends the use of the spool: nothing overtakes.
  std::shared_mutex gate_;
  std::atomic<bool> spooling_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::map<std::string, TopicOptions, std::less<>> topics_waiting_;  // that the remote bus does not know yet
  std::uint64_t forwarded_ = 0, refused_ = 0;
  std::string last_error_;
  Random random_;  // processes that lost the same server do not come back at once
  std::thread thread_;
};

}  // namespace utp
