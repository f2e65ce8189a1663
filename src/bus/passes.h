// How often messages were delivered: stretches of deliveries that ended unacknowledged.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace utp {

class Passes {
 public:
  // Every message up to `high` was delivered once more.
  void add(std::uint64_t high);
  // The last pass, written down before its end, reaches up to `high`.
  void set_open(std::uint64_t high);
  bool is_open() const { return open_; }
  std::uint64_t open_high() const { return open_ ? passes_.back().high : 0; }
  void close() { open_ = false; }
  void prune(std::uint64_t acknowledged);
  std::uint32_t attempt(std::uint64_t position) const;  // of a delivery now
  bool empty() const { return passes_.empty(); }
  std::string write() const;
  static Passes read(std::string_view bytes);

 private:
  struct Pass {
    std::uint64_t high = 0;
    std::uint32_t times = 0;
  };
  std::vector<Pass> passes_;
  bool open_ = false;  // the last one is the pass at hand
};

}  // namespace utp
