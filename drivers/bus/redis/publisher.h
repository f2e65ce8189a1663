#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/hash.h"
#include "drivers/bus/redis/server.h"

namespace utp::redis_bus {

// What the server's settings promise about its append-only file.
enum class Persistence : std::uint8_t { kAlways, kEverySecond, kNone, kUnknown };
// kUnknown where the user may not ask.
Result<Persistence> persistence_of(Connection& connection);

class RedisPublisher final : public Publisher {
 public:
  RedisPublisher(std::shared_ptr<Server> server, PublisherOptions options, Persistence persistence)
      : server_(std::move(server)),
        options_(options),
        persistence_(persistence),
        connection_(server_->options(), server_->nodes()) {}
  Status publish(std::span<const OutMessage> messages) override;
  Status sync() override;

 private:
  struct Lane {  // one partition, and what of the batch goes there
    std::string stream;
    std::vector<const OutMessage*> messages;
    std::size_t sent = 0;            // of messages
    std::uint64_t opened_in = 0;     // the run of the server in which it was opened, 0 when that has to be done again
    std::string next_id;             // since then: the generation, and a star for the server's count
    // Calls to go through the script until the newest entry is taken to be this publisher's last: what was opened may have
    // others' behind that, and where another was met more may come.
    std::size_t unsure = 1;
    std::uint64_t last_position = 0;  // the newest that the server has confirmed to this publisher
    std::uint64_t last_run = 0;       // and the run that did
  };
  struct TopicLanes {
    TopicRecord record;
    std::vector<Lane> lanes;
    std::uint64_t bytes = 0;  // published since this publisher last looked at the limit
  };
  struct Part {  // of a lane's messages: what one call brings
    TopicLanes* topic;
    Lane* lane;
    std::size_t first, end, packs;
  };
  struct HashText {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return hash64(text); }
  };
  Status check(std::span<const OutMessage> messages);
  Result<TopicLanes*> topic_lanes(std::string_view name);
  void drop_batch();
  std::size_t left() const;  // of the batch, to be sent
  void forget_lanes();
  void take_epoch(const TopicRecord& record);
  std::uint32_t pack_of(const TopicLanes& topic) const;
  Status open_lanes(bool& gone);
  void add_open(const TopicLanes& topic, const Lane& lane);
  bool take_open(Lane& lane, std::string_view answer);
  Status send_round(bool& more, bool& gone);
  struct Call {
    std::span<Part> parts;
    std::size_t lone;     // of them, the first ones, bring one message
    std::size_t replies;  // to it
    bool is_plain;        // a transaction, not a script
  };
  Call add_call(std::span<Part> parts, std::size_t messages);
  void add_script(const Call& call);
  std::size_t add_plain(const Call& call);
  void put_pack(std::string_view time, std::span<const OutMessage* const> messages);
  std::string time_now() const;
  void take_time(const redisReply* time);
  Status take_call(const Call& call, std::span<Result<Reply>> replies, bool& more, bool& gone);
  Status make_again();
  Status trim_if_grown(TopicLanes& topic);
  Status wait_for_disk();

  std::shared_ptr<Server> server_;
  PublisherOptions options_;
  Persistence persistence_;
  Connection connection_;
  std::unordered_map<std::string, std::unique_ptr<TopicLanes>, HashText, std::equal_to<>> topics_;
  std::vector<TopicLanes*> found_;                   // of the batch at hand: the topic of each message, where it is known
  std::vector<std::pair<TopicLanes*, Lane*>> used_;  // by the batch at hand
  std::string epoch_;                                // of the bus, as this publisher knows it
  std::int64_t server_ms_ = 0;  // what the server's clock, or the newest time where that is later, was
  std::int64_t heard_ns_ = 0;   // when this publisher heard of it, on its own steady clock
  bool unsynced_ = false;
};

}  // namespace utp::redis_bus
