// How a batch goes out: calls of a bounded size, each whole in the streams or not at all.
//
// A call is a script; or, where it is large and this publisher was the last to write in each of its partitions, a transaction of
// plain XADDs whose ids and time this publisher names, and whose first command, the guard, looks whether they are right.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "drivers/bus/redis/publisher.h"

namespace utp::redis_bus {
namespace {

// One call holds up everybody else on the server: about a millisecond.
constexpr std::size_t kBatchMessages = 500;
constexpr std::size_t kBatchBytes = 1 << 20;
constexpr std::size_t kSendBytes = 4 << 20;   // of a pipeline of such calls
constexpr std::size_t kPackBytes = 64 << 10;  // of an entry with several messages: it is read and trimmed as a whole
constexpr std::size_t kPlainFrom = 32;        // messages: below it the guard costs more than it saves
constexpr std::size_t kUnsureCalls = 100;     // after a refusal, so that what is sent twice is a hundredth
// How much older than the server's clock a time may be when it comes there: what the way to and fro takes.
constexpr std::string_view kTimeOlderMs = "100";

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

std::size_t bytes_of(const OutMessage& message) { return message.key.size() + message.value.size(); }

// Where the pack that begins at `first` ends.
std::size_t pack_end(std::span<const OutMessage* const> messages, std::size_t first, std::size_t end, std::uint32_t pack) {
  std::size_t bytes = bytes_of(*messages[first]);
  std::size_t at = first + 1;
  while (at < end && at - first < pack && (bytes += bytes_of(*messages[at])) <= kPackBytes) ++at;
  return at;
}

const redisReply* at(std::span<redisReply* const> replies, std::size_t i) { return i < replies.size() ? replies[i] : nullptr; }

bool is_error(const redisReply* reply) { return reply != nullptr && reply->type == REDIS_REPLY_ERROR; }

}  // namespace

// Never later than the server's own clock, unless that is set back.
std::string RedisPublisher::time_now() const { return std::to_string(server_ms_ + (steady_ns() - heard_ns_) / 1'000'000); }

void RedisPublisher::take_time(const redisReply* time) {
  server_ms_ = static_cast<std::int64_t>(number(time));
  heard_ns_ = steady_ns();
}

// Field and value of an entry with several messages.
void RedisPublisher::put_pack(std::string_view time, std::span<const OutMessage* const> messages) {
  static thread_local std::string field;
  field = time;
  field += "*" + std::to_string(messages.size());
  std::size_t bytes = 0;
  for (const OutMessage* m : messages) {
    field += " " + std::to_string(m->value.size()) + " " + std::to_string(m->key.size()) + " ";
    field += m->key;
    bytes += m->value.size();
  }
  connection_.put(field);
  connection_.put_size(bytes);
  for (const OutMessage* m : messages) connection_.append(m->value);
  connection_.end();
}

// The order of the parts may change.
RedisPublisher::Call RedisPublisher::add_call(std::span<Part> parts, std::size_t messages) {
  const auto is_last_writer = [](const Part& part) { return part.lane->unsure == 0; };
  const bool is_plain = messages >= kPlainFrom && std::all_of(parts.begin(), parts.end(), is_last_writer);
  const std::string& id = parts.front().lane->next_id;
  const auto others = std::stable_partition(parts.begin(), parts.end(), [&](const Part& part) {
    return part.end == part.first + 1 && (is_plain || part.lane->next_id == id);
  });
  Call call{parts, static_cast<std::size_t>(others - parts.begin()), 1, is_plain};
  if (is_plain)
    call.replies = add_plain(call);
  else
    add_script(call);
  for (const Part& part : parts) part.lane->sent = part.end;
  return call;
}

void RedisPublisher::add_script(const Call& call) {
  const auto singles_of = [](const Part& part) { return part.packs > 0 ? 1 : part.end - part.first; };
  std::size_t arguments = 3 + 2 * call.lone;
  for (const Part& part : call.parts.subspan(call.lone)) arguments += 3 + 2 * singles_of(part) + 3 * part.packs;
  connection_.begin(Script::kPublish, 1 + call.parts.size(), arguments);
  connection_.put(server_->keys().bus());
  for (const Part& part : call.parts) connection_.put(part.lane->stream);
  connection_.put(epoch_);
  connection_.put(call.lone);
  connection_.put(call.parts.front().lane->next_id);
  for (std::size_t p = 0; p < call.parts.size(); ++p) {
    const Part& part = call.parts[p];
    const auto& messages = part.lane->messages;
    const std::size_t singles_end = part.first + singles_of(part);
    if (p >= call.lone) {
      connection_.put(part.lane->next_id);
      connection_.put(singles_of(part));
      connection_.put(part.packs);
    }
    for (std::size_t i = part.first; i < singles_end; ++i) {
      connection_.put(messages[i]->key);
      connection_.put(messages[i]->value);
    }
    for (std::size_t first = singles_end, end = 0; first < part.end; first = end) {
      end = pack_end(messages, first, part.end, pack_of(*part.topic));
      connection_.put(end - first);
      put_pack("", std::span(messages).subspan(first, end - first));
    }
  }
}

// Returns the number of commands.
std::size_t RedisPublisher::add_plain(const Call& call) {
  const std::string time = time_now();
  const auto lone = call.parts.first(call.lone);
  const auto others = call.parts.subspan(call.lone);
  std::size_t commands = 4;
  const auto begin_entry = [&](const Part& part, std::uint64_t position) {
    ++commands;
    connection_.begin(6);
    connection_.put("XADD");
    connection_.put(part.lane->stream);
    connection_.put("NOMKSTREAM");
    connection_.put(id_of(position));
  };
  const auto put_message = [&](const OutMessage& message) {
    connection_.put_size(time.size() + 1 + message.key.size());
    for (const std::string_view piece : {std::string_view(time), std::string_view(" "), message.key}) connection_.append(piece);
    connection_.end();
    connection_.put(message.value);
  };

  connection_.add({"MULTI"});
  connection_.begin_text(guard_text(), 1 + others.size(), 4 + 4 * others.size());
  connection_.put(server_->keys().bus());
  for (const Part& part : others) connection_.put(part.lane->stream);
  connection_.put(epoch_);
  connection_.put(time);
  connection_.put(kTimeOlderMs);
  std::size_t bytes = 0;
  for (const Part& part : lone) bytes += part.lane->stream.size() + 1;
  connection_.put_size(bytes);
  for (const Part& part : lone) {
    connection_.append(part.lane->stream);
    connection_.append("\n");
  }
  connection_.end();
  for (const Part& part : others) {
    connection_.put(id_of(part.lane->last_position + 1));
    connection_.put(part.lane->messages[part.first]->key);
    connection_.put(part.lane->messages[part.first]->value);
    // Each pack will count as one more: then the server's own count is that of messages.
    const std::uint64_t counted = number_of(part.lane->last_position) + part.end - part.first - part.packs;
    connection_.put(part.packs > 0 ? std::to_string(counted) : "");
  }
  for (const Part& part : lone) {
    begin_entry(part, part.lane->last_position + 1);
    put_message(*part.lane->messages[part.first]);
  }
  for (const Part& part : others) {
    const std::span<const OutMessage* const> messages = part.lane->messages;
    const std::uint64_t before = part.lane->last_position - part.first;  // of this message's position, its index and one
    for (std::size_t first = part.first + 1, end = 0; first < part.end; first = end) {
      end = part.packs > 0 ? pack_end(messages, first, part.end, pack_of(*part.topic)) : first + 1;
      begin_entry(part, before + end);
      if (part.packs > 0)
        put_pack(time, messages.subspan(first, end - first));
      else
        put_message(*messages[first]);
    }
  }
  connection_.begin_text(release_text(), 1, 0);
  connection_.put(server_->keys().bus());
  connection_.add({"EXEC"});
  return commands;
}

// Calls of a bounded size, each for one or more partitions, all in one pipeline. What follows in a partition waits for the
// answer: it must not come before the repetition of what was refused.
Status RedisPublisher::send_round(bool& more, bool& gone) {
  std::vector<Part> parts;
  parts.reserve(used_.size());  // calls are spans of it
  std::vector<Call> calls;
  std::size_t messages = 0, bytes = 0, sent_bytes = 0, begun = 0;
  const auto end_call = [&] {
    if (begun == parts.size()) return;
    calls.push_back(add_call(std::span(parts).subspan(begun), messages));
    begun = parts.size();
    sent_bytes += std::exchange(bytes, 0);
    messages = 0;
  };
  more = false;
  for (auto& [topic, lane] : used_) {
    if (lane->sent == lane->messages.size()) continue;
    if (sent_bytes >= kSendBytes) {
      more = true;
      break;
    }
    Part part{topic, lane, lane->sent, lane->sent, 0};
    const auto fits = [&] {
      if (part.end == lane->messages.size()) return false;
      const std::size_t size = bytes_of(*lane->messages[part.end]);
      return messages == 0 || (messages < kBatchMessages && bytes + size <= kBatchBytes);
    };
    if (!fits()) end_call();
    while (fits()) {
      bytes += bytes_of(*lane->messages[part.end++]);
      ++messages;
    }
    if (const std::uint32_t pack = pack_of(*topic); pack > 1) {
      for (std::size_t first = part.first + 1; first < part.end; ++part.packs)
        first = pack_end(lane->messages, first, part.end, pack);
    }
    parts.push_back(part);
    more |= part.end < lane->messages.size();
  }
  end_call();
  UTP_TRY(auto replies, connection_.run_all());
  std::span<Result<Reply>> left = replies;
  for (const Call& call : calls) {
    UTP_CHECK(take_call(call, left.first(call.replies), more, gone));
    left = left.subspan(call.replies);
  }
  return {};
}

Status RedisPublisher::take_call(const Call& call, std::span<Result<Reply>> replies, bool& more, bool& gone) {
  for (auto& reply : replies) {
    if (!reply) return fail(std::move(reply.error()));  // of a transaction the first says why
  }
  const redisReply* answer = replies.back()->get();
  std::span<redisReply* const> entries;  // of a transaction, one for each command that added one
  if (call.is_plain) {
    entries = items(answer);
    answer = at(entries, 0);
    entries = entries.subspan(std::min<std::size_t>(1, entries.size()));
  }
  if (is_error(answer)) return fail(connection_.refused({answer->str, answer->len}));
  const auto answers = items(answer);  // none where the epoch is another
  gone |= answers.empty();
  if (!answers.empty()) take_time(answers[0]);
  std::size_t entry = 0;
  for (std::size_t p = 0; p < call.parts.size(); ++p) {
    const Part& part = call.parts[p];
    Lane& lane = *part.lane;
    const redisReply* first = at(answers, p + 1);
    const redisReply* last = first;
    if (call.is_plain && p < call.lone) {
      first = last = at(entries, entry++);
    } else if (call.is_plain) {
      first = at(answers, p + 1 - call.lone);
      const std::size_t more_entries = part.packs > 0 ? part.packs : part.end - part.first - 1;
      last = more_entries > 0 ? at(entries, entry + more_entries - 1) : first;
      entry += more_entries;
    }
    const std::string_view said = is_error(first) ? std::string_view(first->str, first->len) : text(first);
    const bool is_newer = is_error(first) && said.find("equal or smaller") != std::string_view::npos;
    if (is_error(first) && !is_newer) return fail(connection_.refused(said));
    if (said.empty() || is_newer) {  // to be opened and sent again
      lane.sent = part.first;
      lane.opened_in = 0;
      if (call.is_plain) lane.unsure = kUnsureCalls;
      more = true;
      continue;
    }
    if (is_error(last)) return fail(connection_.refused({last->str, last->len}));
    lane.last_position = position_of(text(last)).value_or(lane.last_position);
    if (lane.unsure > 0) --lane.unsure;
  }
  return {};
}

}  // namespace utp::redis_bus
