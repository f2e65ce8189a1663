// Where the generations of a partition's positions begin and end. A stream's sequences can come twice: a server that lost the
// end of its files goes back, a stream that somebody removed begins at 1 again. Every start of the server (its run) therefore
// opens a generation, before anything is published in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace utp::nats_bus {

class Lineage {
 public:
  const std::string& run() const { return run_; }
  std::uint64_t lost() const { return lost_; }
  std::uint64_t generation() const { return generations_.empty() ? 0 : generations_.back().number; }

  // What is published from now on, behind `last_sequence`, is of a new generation, later than `after`.
  void open(std::string run, std::uint64_t last_sequence, std::uint64_t after, std::int64_t now_s);
  // Counts what a publisher had confirmed up to `position` and is gone with its generation. Each message counts once, however
  // many publishers report it. False when there is nothing new.
  bool count_lost(std::uint64_t position);

  // How far the stream as it is now has what was before and at `position`.
  std::uint64_t sequence_reached(std::uint64_t position) const;
  // Of the message that has this sequence now.
  std::uint64_t position_of(std::uint64_t sequence) const;

  std::string write() const;
  static Lineage read(std::string_view text);

 private:
  struct Generation {
    std::uint64_t number = 0;
    std::uint64_t base = 0;     // its messages have higher sequences
    std::uint64_t counted = 0;  // up to where those that a publisher had confirmed were counted as lost
  };
  std::string run_;
  std::uint64_t lost_ = 0;
  std::vector<Generation> generations_;  // oldest first
};

}  // namespace utp::nats_bus
