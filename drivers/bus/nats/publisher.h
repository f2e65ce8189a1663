#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/bus/nats/server.h"

namespace utp::nats_bus {

class NatsPublisher final : public Publisher {
 public:
  explicit NatsPublisher(std::shared_ptr<Server> server);
  Status publish(std::span<const OutMessage> messages) override;
  Status sync() override;

 private:
  struct Lane {  // one partition, and what of the batch goes there
    std::uint32_t partition = 0;
    std::string stream, subject;
    std::vector<const OutMessage*> messages;
    std::vector<std::string> ids;     // of messages, given when they are first sent
    std::size_t sent = 0;             // of messages: under way or confirmed
    std::size_t confirmed = 0;        // of messages, from the first on
    std::size_t window = 0;           // messages under way at most; 0 = not known yet
    std::uint64_t generation = 0;
    std::uint64_t position = 0;       // the newest that the server has confirmed to this publisher
    Link* link = nullptr;             // for which it was opened; nullptr = it has to be
    std::shared_ptr<Turn> turn;
  };
  struct TopicLanes {
    TopicRecord record;
    std::vector<Lane> lanes;
  };
  struct UnderWay {
    Lane* lane;
    std::size_t index;
  };
  struct Round {  // what came of one
    bool is_gone = false;       // a stream is not there
    std::optional<Error> error; // the first refusal of the server
  };

  Status check(std::span<const OutMessage> messages) const;
  Status connect();
  Result<TopicLanes*> topic_lanes(std::string_view name);
  Status open(const TopicLanes& topic, Lane& lane);
  void drop_batch();
  Status make_again();
  Status run_rounds();
  Status send(Lane& lane, std::size_t& bytes);
  Result<Round> send_round();
  Status collect(Round& round);
  void take_answer(const UnderWay& what, natsMsg* message, Round& round);

  std::shared_ptr<Server> server_;
  std::shared_ptr<Link> link_;
  std::unique_ptr<Listener> answers_;
  std::string inbox_, name_;
  std::uint64_t next_id_ = 1;
  std::uint64_t first_answer_ = 0;  // number of the first of under_way_
  std::vector<UnderWay> under_way_;
  std::map<std::string, std::unique_ptr<TopicLanes>, std::less<>> topics_;
  std::vector<std::pair<TopicLanes*, Lane*>> used_;
};

}  // namespace utp::nats_bus
