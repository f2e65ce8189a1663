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

namespace utp::redis_bus {
namespace {

constexpr std::size_t kReadBytes = 64 * 1024;
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
  const std::string where = place() + ": ";
  const std::string said = "the server says \"" + std::string(message.substr(0, 300)) + "\"";
  for (const std::string_view word : {"LOADING", "MASTERDOWN", "BUSY ", "TRYAGAIN", "CLUSTERDOWN", "READONLY"}) {
    if (starts(message, word)) return {Code::kUnavailable, where + said + "; the call can be repeated", true};
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
  if (starts(message, "MOVED") || starts(message, "ASK ") || starts(message, "CROSSSLOT")) {
    return {Code::kUnsupported,
            where + "the server is one of a cluster, which this driver does not follow; name a single server", false};
  }
  return {Code::kInternal, where + said, false};
}

Status Connection::ensure() {
  if (wire_.is_open()) return {};
  UTP_CHECK(connect());
  auto said = hello();
  if (!said) close();
  return said;
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

Status Connection::hello() {
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
  if (options_.database != 0) {
    add({"SELECT", std::to_string(options_.database)});
    UTP_CHECK(run_one());
  }
  add({"CLIENT", "SETNAME", "utp"});
  add({"INFO", "server"});
  for (std::size_t i = 0; i < kScripts; ++i) add({"SCRIPT", "LOAD", script_text(static_cast<Script>(i))});
  UTP_TRY(auto replies, run_all());
  for (std::size_t i = 1; i < replies.size(); ++i) {
    if (!replies[i]) return fail(std::move(replies[i].error()));
    if (i >= 2) hashes_[i - 2] = text(replies[i]->get());
  }
  const std::string_view info = text(replies[1]->get());
  if (const std::string_view run = info_field(info, "run_id"); run != run_) {
    run_ = run;
    ++run_number_;
  }
  const std::string_view version = info_field(info, "redis_version");
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (run_.empty() || major < kMajorMin) {
    return fail(Code::kUnsupported,
                place() + ": version " + std::string(version) + " of the server is too old; use 7.0 or later");
  }
  if (info_field(info, "redis_mode") == "cluster") {
    return fail(Code::kUnsupported,
                place() + ": the server runs as a cluster, which this driver does not follow; name a single server");
  }
  return {};
}

void Connection::add(std::span<const std::string_view> arguments) {
  put_number(out_, '*', arguments.size());
  for (const std::string_view argument : arguments) put_text(out_, argument);
  ++commands_;
}

void Connection::add(Script script, std::initializer_list<std::string_view> keys,
                     std::initializer_list<std::string_view> arguments) {
  begin(script, keys.size(), arguments.size());
  for (const std::string_view key : keys) put(key);
  for (const std::string_view argument : arguments) put(argument);
}

void Connection::begin(Script script, std::size_t keys, std::size_t arguments) {
  put_number(out_, '*', 3 + keys + arguments);
  put("EVALSHA");
  put(hashes_[static_cast<std::size_t>(script)]);
  put(keys);
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
