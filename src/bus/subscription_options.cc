#include "bus/subscription_options.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "model/envelope.h"

namespace utp {
namespace {

constexpr std::size_t kHostBytesMax = 40;

Status check_name(std::string_view what, std::string_view name) {
  const bool good = name.size() <= kGroupNameBytesMax && std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; });
  if (good) return {};
  return fail(Code::kInvalidArgument, std::string(what) + " \"" + std::string(name.substr(0, 2 * kGroupNameBytesMax)) +
                                          "\": expected at most " + std::to_string(kGroupNameBytesMax) +
                                          " printable ASCII characters without spaces");
}

std::string made_up_member() {
  static std::atomic<std::uint64_t> number{1};
  char host[256] = "";
  (void)::gethostname(host, sizeof host - 1);
  return std::string(host).substr(0, kHostBytesMax) + "-pid" + std::to_string(::getpid()) + "-" + std::to_string(number.fetch_add(1)) + "-" +
         std::to_string(SystemClock().now().ns);
}

}  // namespace

Status prepare(SubscriptionOptions& options) {
  if (options.patterns.empty()) return fail(Code::kInvalidArgument, "subscribe: no topics; name at least one topic or pattern");
  for (const std::string& pattern : options.patterns) UTP_CHECK(check_topic_pattern(pattern));
  UTP_CHECK(check_name("group", options.group));
  UTP_CHECK(check_name("member", options.member));
  if (options.lease_ns <= 0) {
    return fail(Code::kInvalidArgument, "subscribe: lease_ns is not positive; give the time after which a silent member loses its partitions");
  }
  if (options.member.empty()) options.member = made_up_member();
  return {};
}

}  // namespace utp
