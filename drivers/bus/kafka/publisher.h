#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/bus/kafka/server.h"

namespace utp::kafka_bus {

class KafkaPublisher final : public Publisher {
 public:
  KafkaPublisher(std::shared_ptr<Server> server, PublisherOptions options)
      : server_(std::move(server)), options_(options) {}
  ~KafkaPublisher() override;
  Status publish(std::span<const OutMessage> messages) override;
  Status sync() override;

 private:
  struct Lane {                   // one partition
    std::int64_t confirmed = -1;  // offset of the newest message that the cluster has confirmed to this publisher
    std::int64_t lost_from = -1;  // a loss that is not written down yet
    std::int64_t lost_to = -1;
  };
  struct Topic {
    TopicRecord record;
    rd_kafka_topic_t* handle = nullptr;
    rd_kafka_headers_t* headers = nullptr;  // what all its messages say: the topic's parts
    std::vector<Lane> lanes;
    bool was_used = false;
  };
  // What became of the messages of one round: the delivery reports fill it.
  struct Round {
    std::size_t waiting = 0;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  };

  static void delivered(rd_kafka_t* rk, const rd_kafka_message_t* record, void* opaque);
  Status check(std::span<const OutMessage> messages) const;
  Status connect();
  void disconnect();
  Result<Topic*> topic_of(std::string_view name);
  void warn_of_durability(const TopicRecord& record);
  Status send(std::span<const OutMessage> messages);
  rd_kafka_resp_err_t produce(Topic& topic, const OutMessage& message, Timestamp time);
  Status write_losses();

  std::shared_ptr<Server> server_;
  PublisherOptions options_;
  Client client_;
  Round round_;
  std::map<std::string, std::unique_ptr<Topic>, std::less<>> topics_;
  Timestamp last_time_;
  bool has_losses_ = false;
};

}  // namespace utp::kafka_bus
