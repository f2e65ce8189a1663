// What mappers of venues with order books share: a book that cannot be trusted is void until its next snapshot, which is asked
// for at once. That can fail too, so failures are counted: a book that fails again and again, or a venue that reports an error
// while a snapshot is awaited, costs the connection, which is made again after a growing wait.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "connector/mapper.h"

namespace utp {

// One book on one connection.
struct FollowedBook {
  enum class State : std::uint8_t { kNone, kLive, kAwaited };
  State state = State::kNone;
  std::uint64_t next = 0;  // book_seq
  std::string id;          // book_id
  unsigned failures = 0;
  unsigned good = 0;       // events since the snapshot

  // A snapshot came. The same frame gives the same name: `made` and a number that no two snapshots of that time share.
  void begin(Timestamp made, std::uint64_t number) {
    state = State::kLive;
    next = 0;
    good = 0;
    id = std::to_string(made.ns);
    id += '.';
    id += std::to_string(number);
  }
  // An event of it was taken.
  void advance() {
    ++next;
    if (++good == kGoodAgain) failures = 0;
  }

  static constexpr unsigned kGoodAgain = 100;  // events after which earlier failures are forgiven
};

// The books of one connection.
class BookRecovery {
 public:
  // Gives up `book` (a gap) and sends `requests`, which ask for its snapshot; the third failure in a row makes the connection
  // again instead.
  void give_up(FollowedBook& book, std::uint32_t connection, std::string_view symbol, std::string_view reason,
               std::initializer_list<std::string> requests, MapperOutput& output) {
    book.state = FollowedBook::State::kAwaited;
    output.gap("orderbook/v1", symbol, reason, 0);
    if (reconnecting_) return;
    if (++book.failures >= kFailuresMax) {
      return reconnect(connection, "the book of " + std::string(symbol) + " failed " + std::to_string(book.failures) + " times: " +
                                       std::string(reason), output);
    }
    for (const std::string& request : requests) output.command({Command::Kind::kSend, connection, "", request});
  }

  // Once for each connection: it starts from a clean state.
  void reconnect(std::uint32_t connection, std::string reason, MapperOutput& output) {
    if (!std::exchange(reconnecting_, true)) output.command({Command::Kind::kReconnect, connection, "", std::move(reason)});
  }

 private:
  static constexpr unsigned kFailuresMax = 3;
  bool reconnecting_ = false;
};

}  // namespace utp
