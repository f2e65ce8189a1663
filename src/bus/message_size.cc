#include "bus/message_size.h"

#include "model/envelope.h"

namespace utp {

Status check_sizes(std::span<const OutMessage> messages, std::size_t key_bytes_max) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    const auto refuse = [&](std::string_view what, std::size_t size, std::size_t max, std::string_view cure) {
      return fail(Code::kInvalidArgument, "message " + std::to_string(i) + " for " + std::string(message.topic) + ": its " +
                                              std::string(what) + " has " + std::to_string(size) + " bytes, at most " +
                                              std::to_string(max) + " are allowed; " + std::string(cure) + " it");
    };
    if (message.value.size() > kEnvelopeBytesMax) return refuse("envelope", message.value.size(), kEnvelopeBytesMax, "split");
    if (message.key.size() > key_bytes_max) return refuse("key", message.key.size(), key_bytes_max, "shorten");
  }
  return {};
}

}  // namespace utp
