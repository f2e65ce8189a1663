#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/bus/embedded/directory.h"

namespace utp::embedded_bus {

class EmbeddedPublisher final : public Publisher {
 public:
  EmbeddedPublisher(std::shared_ptr<Directory> directory, PublisherOptions options)
      : directory_(std::move(directory)), options_(options) {}
  Status publish(std::span<const OutMessage> messages) override;
  Status sync() override;

 private:
  struct Lane {  // one partition, and what of the batch goes there
    std::shared_ptr<Partition> partition;
    std::vector<const OutMessage*> messages;
    std::uint64_t last_position = 0;
  };
  struct TopicLanes {
    std::string name;
    std::vector<Lane> lanes;
  };
  Result<TopicLanes*> topic_lanes(std::string_view name);
  Status check(std::span<const OutMessage> messages) const;
  Status append(TopicLanes& topic, Lane& lane);

  std::shared_ptr<Directory> directory_;
  PublisherOptions options_;
  std::map<std::string, std::unique_ptr<TopicLanes>, std::less<>> topics_;
  std::vector<std::pair<TopicLanes*, Lane*>> used_;  // by the batch at hand
};

}  // namespace utp::embedded_bus
