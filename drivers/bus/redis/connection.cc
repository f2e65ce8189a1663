#include "drivers/bus/redis/connection.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <climits>
#include <utility>

#include "drivers/bus/redis/keys.h"

namespace utp::redis_bus {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
constexpr std::size_t kAskedMax = 16;  // nodes in one look for the bus
constexpr int kMajorMin = 7;  // XADD <generation>-*, XGROUP SETID … ENTRIESREAD

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

void put_number(std::string& out, char kind, std::size_t value) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out += kind;
  out.append(digits, end);
  out += "\r\n";
}

void put_text(std::string& out, std::string_view value) {
  put_number(out, '$', value.size());
  out += value;
  out += "\r\n";
}

bool starts(std::string_view text, std::string_view with) { return text.substr(0, with.size()) == with; }

// The value of a line "name:value" of INFO.
std::string_view info_field(std::string_view info, std::string_view name) {
  for (std::size_t at = 0; at < info.size();) {
    const std::size_t end = std::min(info.find("\r\n", at), info.size());
    const std::string_view line = info.substr(at, end - at);
    if (line.size() > name.size() && line[name.size()] == ':' && starts(line, name))
      return line.substr(name.size() + 1);
    at = end + 2;
  }
  return {};
}

}  // namespace

void FreeReply::operator()(redisReply* reply) const { freeReplyObject(reply); }

std::string_view text(const redisReply* reply) {
  if (reply == nullptr || (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS)) return {};
  return {reply->str, reply->len};
}

std::uint64_t number(const redisReply* reply) {
  if (reply != nullptr && reply->type == REDIS_REPLY_INTEGER)
    return static_cast<std::uint64_t>(std::max(reply->integer, 0LL));
  const std::string_view digits = text(reply);
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

std::span<redisReply* const> items(const redisReply* reply) {
  if (reply == nullptr || reply->type != REDIS_REPLY_ARRAY) return {};
  return {reply->element, reply->elements};
}

Interrupt::Interrupt() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
Interrupt::~Interrupt() {
  if (fd_ >= 0) ::close(fd_);
}
void Interrupt::raise() {
  raised_.store(true);
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
}
bool Interrupt::take() {
  if (!raised_.exchange(false)) return false;
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd_, &count, sizeof count);
  return true;
}

std::string Connection::place() const {
  return (options_.tls ? "rediss " : "redis ") + options_.host + ":" + std::to_string(options_.port) + "/" + std::to_string(options_.database);
}

void Connection::close() {
  wire_.close();
  if (reader_ != nullptr) redisReaderFree(reader_);
  reader_ = nullptr;
  out_.clear();
  commands_ = 0;
}

tl::unexpected<Error> Connection::lost(std::string_view what) {
  close();
  return fail(Code::kUnavailable,
              place() + ": " + std::string(what) + "; the call can be repeated once the server is back", true);
}

// By its first word.
Error Connection::refused(std::string_view message) {
  constexpr std::string_view kAborted = "EXECABORT Transaction discarded because of: ";
  if (starts(message, kAborted)) message.remove_prefix(kAborted.size());
  const std::string where = place() + ": ";
  const std::string said = "the server says \"" + std::string(message.substr(0, 300)) + "\"";
  for (const std::string_view word : {"BUSY ", "NOREPLICAS"}) {
    if (starts(message, word)) return {Code::kUnavailable, where + said + "; the call can be repeated", true};
  }
  // The bus is, or soon will be, at another server: the next connection looks for it. A script whose keys are going there
  // is refused in words of its own.
  const bool is_script_moved = message.find("Script attempted to ") != std::string_view::npos;
  for (const std::string_view word :
       {"MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED"}) {
    if (!is_script_moved && !starts(message, word)) continue;
    close();
    return {Code::kUnavailable, where + said + "; the call can be repeated", true};
  }
  if (starts(message, "NOSCRIPT")) {
    close();  // the next connection brings the scripts along
    return {Code::kUnavailable, where + "the server no longer has the scripts of this bus; the call can be repeated",
            true};
  }
  if (starts(message, "OOM")) {
    return {Code::kFull,
            where + "the server has reached its maxmemory; raise it, or lower the topics' retention, then repeat",
            true};
  }
  if (starts(message, "MISCONF")) return {Code::kFull, where + said + "; make room on its disk, then repeat", true};
  if (starts(message, "NOAUTH")) {
    return {Code::kPermission,
            where +
                "the server wants a password; put it into the URL (redis://user:password@host) or into "
                "UTP_REDIS_PASSWORD",
            false};
  }
  if (starts(message, "WRONGPASS")) {
    return {Code::kPermission, where + "the server refuses this user or password; check the URL and UTP_REDIS_PASSWORD",
            false};
  }
  if (starts(message, "NOPERM")) {
    return {Code::kPermission, where + said + "; the README of the Redis bus lists what its user must be allowed",
            false};
  }
  return {Code::kInternal, where + said, false};
}

Status Connection::ensure() {
  if (wire_.is_open()) return {};
  // One that is silent takes all the time there is: the next call begins with another.
  const std::int64_t deadline = steady_ns() + options_.connect_timeout_ns;
  std::vector<RedisNode> next = nodes_.all();
  std::vector<RedisNode> asked;
  std::string names;
  auto failed =
      fail(Code::kUnavailable, "redis: the nodes of the cluster do not agree on who has the bus; the call can be repeated", true);
  while (!next.empty() && asked.size() < kAskedMax && (asked.empty() || steady_ns() < deadline)) {
    const RedisNode node = next.front();
    next.erase(next.begin());
    if (std::find(asked.begin(), asked.end(), node) != asked.end()) continue;
    asked.push_back(node);
    names += (names.empty() ? "" : ", ") + node.host + ":" + std::to_string(node.port);
    options_.host = node.host;
    options_.port = node.port;
    std::optional<RedisNode> elsewhere;
    auto said = connect();
    if (said) said = hello(elsewhere);
    if (said && !elsewhere) {
      nodes_.serves(node);
      return {};
    }
    close();
    if (elsewhere) {
      next.insert(next.begin(), *elsewhere);
      continue;
    }
    nodes_.refuses(node);
    failed = fail(std::move(said.error()));
    if (!failed.value().retryable) return failed;
  }
  if (asked.size() > 1) failed.value().message += " (asked: " + names + ")";
  return failed;
}

Status Connection::connect() {
  const timeval limit{static_cast<time_t>(options_.connect_timeout_ns / 1'000'000'000),
                      static_cast<suseconds_t>(options_.connect_timeout_ns % 1'000'000'000 / 1000)};
  redisContext* context = redisConnectWithTimeout(options_.host.c_str(), options_.port, limit);
  if (context == nullptr || context->err != 0) {
    const std::string why = context == nullptr ? "out of memory" : context->errstr;
    if (context != nullptr) redisFree(context);
    return fail(Code::kUnavailable,
                place() + ": cannot connect: " + why + "; is the server running, and reachable from here?", true);
  }
  redisEnableKeepAlive(context);
  // From here on the socket is ours: the library would raise SIGPIPE, and its waits could not be interrupted.
  UTP_CHECK(wire_.open(redisFreeKeepFd(context), options_, place()));
  reader_ = redisReaderCreate();
  reader_->maxbuf = 0;  // do not free and regrow the buffer after every large reply
  return {};
}

Status Connection::hello(std::optional<RedisNode>& elsewhere) {
  if (!options_.password.empty()) {
    if (options_.user.empty())
      add({"AUTH", options_.password});
    else
      add({"AUTH", options_.user, options_.password});
    auto let_in = run_one();
    if (!let_in && let_in.error().message.find("without any password configured") != std::string::npos) {
      return fail(
          Code::kPermission,
          place() + ": the server has no password, but one is given; remove it from the URL or UTP_REDIS_PASSWORD");
    }
    if (!let_in) return fail(std::move(let_in.error()));
  }
  add({"CLIENT", "SETNAME", "utp"});
  add({"INFO", "server"});
  add({"INFO", "replication"});
  UTP_TRY(auto about, run_all());
  for (std::size_t i = 1; i < about.size(); ++i) {
    if (!about[i]) return fail(std::move(about[i].error()));
  }
  const std::string_view server = text(about[1]->get());
  const std::string_view replication = text(about[2]->get());
  const std::string_view run = info_field(server, "run_id");
  const std::string_view version = info_field(server, "redis_version");
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (run.empty() || major < kMajorMin) {
    return fail(Code::kUnsupported,
                place() + ": version " + std::string(version) + " of the server is too old; use 7.0 or later");
  }
  const bool is_cluster = info_field(server, "redis_mode") == "cluster";
  if (!nodes_.agree(is_cluster)) {
    return fail(Code::kUnsupported,
                place() + ": the server " + (is_cluster ? "runs as a cluster" : "is none of a cluster") +
                    ", unlike the one that the bus was opened at; name servers of one kind, and open the bus anew");
  }
  if (is_cluster) {
    UTP_CHECK(find_owner(elsewhere));
    if (elsewhere) return {};
  } else if (!nodes_.is_one_named() && info_field(replication, "role") != "master") {
    return fail(Code::kUnavailable,
                place() + ": the server is a replica; the call can be repeated once one of those named is a master", true);
  }
  if (options_.database != 0) {
    add({"SELECT", std::to_string(options_.database)});
    UTP_CHECK(run_one());
  }
  for (std::size_t i = 0; i < kScripts; ++i) add({"SCRIPT", "LOAD", script_text(static_cast<Script>(i))});
  add({"MULTI"});  // where it is not allowed, what should be one step would be several
  add({"EXEC"});
  UTP_TRY(auto loaded, run_all());
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    if (!loaded[i]) return fail(std::move(loaded[i].error()));
    if (i < kScripts) hashes_[i] = text(loaded[i]->get());
  }
  // A replica that became the master may lack the end of what was there; so may the process that it replaced, once that is
  // the master again.
  const std::string_view history = info_field(replication, "master_replid");
  if (run != run_ || history != history_) {
    run_ = run;
    history_ = history;
    ++run_number_;
  }
  return {};
}

Status Connection::find_owner(std::optional<RedisNode>& elsewhere) {
  if (options_.database != 0) {
    return fail(Code::kInvalidArgument, place() + ": a cluster has database 0 only; leave the database out of the URL");
  }
  add({"CLUSTER", "MYID"});
  add({"CLUSTER", "KEYSLOT", cluster_prefix(options_.prefix)});
  add({"CLUSTER", "SLOTS"});
  UTP_TRY(auto replies, run_all());
  for (auto& reply : replies) {
    if (!reply) return fail(std::move(reply.error()));
  }
  const std::string_view self = text(replies[0]->get());
  const std::uint64_t slot = number(replies[1]->get());
  bool is_served = false;
  std::vector<RedisNode> all;
  for (const redisReply* range : items(replies[2]->get())) {
    const auto parts = items(range);  // first slot, last slot, master, replicas
    for (std::size_t i = 2; i < parts.size(); ++i) {
      const auto fields = items(parts[i]);  // host, port, id
      if (fields.size() < 3) continue;
      RedisNode node{std::string(text(fields[0])), static_cast<int>(number(fields[1]))};
      if (node.host.empty() || node.host == "?") node.host = options_.host;  // the cluster does not know how we see it
      if (i == 2 && number(parts[0]) <= slot && slot <= number(parts[1])) {
        is_served = true;
        if (text(fields[2]) != self) elsewhere = node;
      }
      all.push_back(std::move(node));
    }
  }
  if (!is_served) {
    return fail(Code::kUnavailable,
                place() + ": no node of the cluster serves slot " + std::to_string(slot) + ", where the bus \"" +
                    options_.prefix + "\" lives; give the slot to a node (redis-cli --cluster fix), then repeat the call",
                true);
  }
  nodes_.learn(all);
  return {};
}

void Connection::add(std::span<const std::string_view> arguments) {
  begin(arguments.size());
  for (const std::string_view argument : arguments) put_text(out_, argument);
}

void Connection::add(Script script, std::initializer_list<std::string_view> keys,
                     std::initializer_list<std::string_view> arguments) {
  begin(script, keys.size(), arguments.size());
  for (const std::string_view key : keys) put(key);
  for (const std::string_view argument : arguments) put(argument);
}

void Connection::begin(Script script, std::size_t keys, std::size_t arguments) {
  begin(3 + keys + arguments);
  put("EVALSHA");
  put(hashes_[static_cast<std::size_t>(script)]);
  put(keys);
}

void Connection::begin_text(std::string_view script, std::size_t keys, std::size_t arguments) {
  begin(3 + keys + arguments);
  put("EVAL");
  put(script);
  put(keys);
}

void Connection::begin(std::size_t words) {
  put_number(out_, '*', words);
  ++commands_;
}

void Connection::put(std::string_view value) { put_text(out_, value); }

void Connection::put(std::size_t number) {
  char digits[24];
  put_text(out_, {digits, std::to_chars(digits, digits + sizeof digits, number).ptr});
}

void Connection::put_size(std::size_t size) { put_number(out_, '$', size); }

Status Connection::send() {
  if (!wire_.is_open()) return lost("not connected");
  const std::int64_t deadline = steady_ns() + options_.answer_timeout_ns;
  for (std::size_t sent = 0; sent < out_.size();) {
    const Wire::Moved moved = wire_.send(std::string_view(out_).substr(sent));
    if (moved.bytes > 0) {
      sent += static_cast<std::size_t>(moved.bytes);
      continue;
    }
    if (moved.wait == 0) return lost("the connection broke: " + wire_.error());
    const std::int64_t left = deadline - steady_ns();
    if (left <= 0) return lost("the server does not take what is sent");
    pollfd wait{wire_.fd(), moved.wait, 0};
    ::poll(&wait, 1, static_cast<int>(left / 1'000'000 + 1));
  }
  out_.clear();
  return {};
}

Result<Reply> Connection::receive(std::int64_t deadline_ns, Interrupt* interrupt) {
  static thread_local std::unique_ptr<char[]> buffer = std::make_unique_for_overwrite<char[]>(kReadBytes);
  for (;;) {
    void* raw = nullptr;
    if (redisReaderGetReply(reader_, &raw) != REDIS_OK)
      return lost(std::string("the answer is no Redis protocol: ") + reader_->errstr);
    if (raw != nullptr) {
      Reply reply(static_cast<redisReply*>(raw));
      if (reply->type == REDIS_REPLY_ERROR) return fail(refused({reply->str, reply->len}));
      return reply;
    }
    const Wire::Moved moved = wire_.receive({buffer.get(), kReadBytes}, interrupt == nullptr);
    if (moved.bytes > 0) {
      redisReaderFeed(reader_, buffer.get(), static_cast<std::size_t>(moved.bytes));
      continue;
    }
    if (moved.bytes == 0) return lost("the server closed the connection");
    if (moved.wait == 0) return lost("the connection broke: " + wire_.error());
    const std::int64_t left = deadline_ns - steady_ns();
    if (left <= 0) return lost("no answer in time");
    pollfd waits[2] = {{wire_.fd(), moved.wait, 0}, {interrupt != nullptr ? interrupt->fd() : -1, POLLIN, 0}};
    ::poll(waits, 2, static_cast<int>(std::min<std::int64_t>(left / 1'000'000 + 1, INT_MAX)));
    if (interrupt != nullptr && interrupt->take()) {
      close();  // the server drops what it was asked for
      return fail(Code::kCancelled, "poll was interrupted");
    }
  }
}

Result<std::vector<Result<Reply>>> Connection::run_all() {
  std::vector<Result<Reply>> replies;
  const std::size_t count = std::exchange(commands_, 0);
  replies.reserve(count);
  UTP_CHECK(send());
  for (std::size_t i = 0; i < count; ++i) {
    auto reply = receive(steady_ns() + options_.answer_timeout_ns, nullptr);
    if (!reply && !wire_.is_open()) return fail(std::move(reply.error()));
    replies.push_back(std::move(reply));
  }
  return replies;
}

Result<Reply> Connection::run_one(std::int64_t extra_ns, Interrupt* interrupt) {
  commands_ = 0;
  UTP_CHECK(send());
  return receive(steady_ns() + options_.answer_timeout_ns + extra_ns, interrupt);
}

}  // namespace utp::redis_bus
