// Redis without our bus: XADD with one field, XREADGROUP and XACK, through hiredis; and redis-benchmark.
#include <hiredis/hiredis.h>

#include "bus_server.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::bench {
namespace {

constexpr const char* kBareStream = "bare";

std::string benchmark_program() { return bus_test::find_program({"/usr/bin/redis-benchmark", "/usr/local/bin/redis-benchmark"}); }

class BareRedis final : public BareClient {
 public:
  BareRedis(int port, std::size_t streams) : context_(redisConnect("127.0.0.1", port)) {
    if (context_ == nullptr || context_->err != 0) die("bare client: cannot connect");
    for (std::size_t i = 1; i < streams; ++i) streams_.push_back(kBareStream + std::to_string(i));
    command({"XGROUP", "CREATE", kBareStream, "g", "0", "MKSTREAM"}, false);  // the second client finds it there
  }
  ~BareRedis() override {
    if (reply_ != nullptr) freeReplyObject(reply_);
    redisFree(context_);
  }
  BareRedis(const BareRedis&) = delete;
  BareRedis& operator=(const BareRedis&) = delete;

  void publish(std::span<const std::string> values) override {
    for (const std::string& value : values) {
      const std::string& stream = streams_[next_++ % streams_.size()];
      const char* words[] = {"XADD", stream.data(), "*", "e", value.data()};
      const std::size_t sizes[] = {4, stream.size(), 1, 1, value.size()};
      redisAppendCommandArgv(context_, 5, words, sizes);
    }
    for (std::size_t i = 0; i < values.size(); ++i) take(true);
  }

  std::span<const std::string_view> consume(std::size_t max, int timeout_ms) override {
    values_.clear();
    command({"XREADGROUP", "GROUP", "g", "c", "COUNT", std::to_string(max), "BLOCK", std::to_string(timeout_ms), "STREAMS", kBareStream, ">"},
            true);
    if (reply_->type != REDIS_REPLY_ARRAY || reply_->elements != 1) return values_;
    const redisReply* entries = reply_->element[0]->element[1];
    std::vector<const char*> words{"XACK", kBareStream, "g"};
    std::vector<std::size_t> sizes{4, 4, 1};
    for (std::size_t i = 0; i < entries->elements; ++i) {
      const redisReply* id = entries->element[i]->element[0];
      const redisReply* value = entries->element[i]->element[1]->element[1];
      words.push_back(id->str);
      sizes.push_back(id->len);
      values_.emplace_back(value->str, value->len);
    }
    redisReply* kept = std::exchange(reply_, nullptr);
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), words.data(), sizes.data());
    take(true);
    freeReplyObject(std::exchange(reply_, kept));
    return values_;
  }

 private:
  void command(const std::vector<std::string>& texts, bool must) {
    std::vector<const char*> words;
    std::vector<std::size_t> sizes;
    for (const std::string& text : texts) {
      words.push_back(text.data());
      sizes.push_back(text.size());
    }
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), words.data(), sizes.data());
    take(must);
  }
  void take(bool must) {
    if (reply_ != nullptr) freeReplyObject(reply_);
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK) die("bare client: the connection broke");
    reply_ = static_cast<redisReply*>(reply);
    if (must && reply_->type == REDIS_REPLY_ERROR) die(std::string("bare client: ") + reply_->str);
  }

  redisContext* context_;
  redisReply* reply_ = nullptr;
  std::vector<std::string> streams_{kBareStream};  // messages go to them in turn
  std::size_t next_ = 0;
  std::vector<std::string_view> values_;
};

class Redis final : public BusServer {
 public:
  // No rewriting of the file while we measure: it begins with whoever comes to its limit.
  Redis() : server_({"--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"}) {
    if (!server_.is_running()) die("the Redis server does not start; see " + server_.folder() + "/log");
  }
  std::unique_ptr<Bus> open() override {
    RedisBusOptions options = server_.options();
    options.retention_bytes = std::uint64_t{8} << 30;
    auto bus = open_redis_bus(options);
    if (!bus) die(bus.error().message);
    return std::move(*bus);
  }
  pid_t pid() const override { return server_.pid(); }
  std::unique_ptr<BareClient> bare() override { return bare(1); }
  std::unique_ptr<BareClient> bare(std::size_t topics) override { return std::make_unique<BareRedis>(server_.port(), topics); }

  std::optional<double> tool_publish(std::size_t messages, std::size_t batch) override {
    if (benchmark_program().empty()) return {};
    const std::string command = benchmark_program() + " -h 127.0.0.1 -p " + std::to_string(server_.port()) + " -c 1 -P " +
                                std::to_string(batch) + " -n " + std::to_string(messages) + " --csv XADD tool '*' e " +
                                std::string(kMessageBytes, 'x');
    std::FILE* out = ::popen(command.c_str(), "r");
    if (out == nullptr) return {};
    std::string text;
    char buffer[4096];
    for (std::size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, out)) > 0;) text.append(buffer, n);
    ::pclose(out);
    // A line of names, then "the command","messages a second",...
    const std::size_t line = text.find('\n');
    const std::size_t rate = line == std::string::npos ? line : text.find("\",\"", line);
    if (rate == std::string::npos) die("redis-benchmark prints something else than expected: " + text.substr(0, 200));
    return 1e9 / std::strtod(text.c_str() + rate + 3, nullptr);
  }

 private:
  redis_bus_test::RedisServer server_;
};

}  // namespace

ServerKind redis_kind() {
  return {"redis", redis_bus_test::RedisServer::missing(),
          [] { return std::make_unique<Redis>(); }, 50, true};
}

}  // namespace utp::bench
