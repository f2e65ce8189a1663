// Looks at single messages by their offset: their time, and how large messages are there.
#pragma once

#include <mutex>

#include "core/clock.h"
#include "drivers/bus/kafka/admin.h"

namespace utp::kafka_bus {

struct Peeked {
  Timestamp time;
  std::uint64_t bytes = 0;  // on average, of this message and those that came with it
};

class Peek {
 public:
  static Result<std::unique_ptr<Peek>> open(const KafkaBusOptions& options);
  ~Peek();

  // The message at each offset, or the first behind it; left out where there is none.
  Result<PerPartition<Peeked>> look(const PerPartition<std::int64_t>& at);

 private:
  explicit Peek(const KafkaBusOptions& options) : options_(options) {}
  const KafkaBusOptions& options_;
  std::mutex mutex_;
  Client client_;
  Queue queue_;
};

}  // namespace utp::kafka_bus
