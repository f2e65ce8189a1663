#include "apps/utp/bus_watch.h"

#include <chrono>
#include <iterator>

#include <fmt/format.h>

namespace utp::app {
namespace {

constexpr std::chrono::milliseconds kLook{1000}, kCloseLook{200};
constexpr double kCloseBacklog = 0.25;  // from here on it is looked at more often: it may be full in seconds

}  // namespace

BusWatch::BusWatch(std::shared_ptr<Bus> bus, std::string realm, std::string group)
    : bus_(std::move(bus)), realm_(std::move(realm)), group_(std::move(group)), thread_([this] { run(); }) {}

BusWatch::~BusWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

BusWatch::View BusWatch::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

void BusWatch::refresh() { look(); }

void BusWatch::run() {
  do look();
  while (pause());
}

// False when it is time to end.
bool BusWatch::pause() {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, view_.backlog > kCloseBacklog ? kCloseLook : kLook, [&] { return ending_; });
}

void BusWatch::look() {
  auto found = [&]() -> Result<std::vector<TopicStats>> {
    UTP_TRY(auto topics, bus_->stats(fmt::format("utp.{}.>", realm_)));
    UTP_TRY(auto dead, bus_->stats(fmt::format("utp.{}.>.dlq", realm_)));
    topics.insert(topics.end(), std::make_move_iterator(dead.begin()), std::make_move_iterator(dead.end()));
    return topics;
  }();
  const std::lock_guard lock(mutex_);
  view_.reachable = found.has_value();
  view_.error = found ? "" : found.error().message;
  if (!found) return;
  view_.topics = *std::move(found);
  view_.backlog = 0;
  for (const TopicStats& topic : view_.topics) {
    for (const GroupStats& group : topic.groups) {
      if (group.group != group_ || topic.messages == 0 || topic.retention_bytes == 0) continue;
      const double bytes = static_cast<double>(topic.bytes) / static_cast<double>(topic.messages) * static_cast<double>(group.lag);
      const double share = bytes / static_cast<double>(topic.retention_bytes);
      if (share <= view_.backlog) continue;
      view_.backlog = share;
      view_.backlog_topic = topic.topic;
      view_.backlog_bytes = static_cast<std::uint64_t>(bytes);
      view_.backlog_limit = topic.retention_bytes;
    }
  }
}

}  // namespace utp::app
