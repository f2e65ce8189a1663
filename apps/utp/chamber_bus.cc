#include "apps/utp/chamber_bus.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "model/envelope.h"
#include "schema/json.h"

namespace utp::app {
namespace {

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  ~File() { ::close(fd_); }
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::optional<std::string> key_of(JsonTree& tree, std::string_view message) {
  std::string error;
  if (!tree.parse(message, error)) return std::nullopt;
  const JsonValue& root = tree.root();
  const auto text = [&](std::string_view name) {
    const JsonValue* v = tree.member(root, name);
    return v ? v->text : std::string_view();
  };
  Envelope envelope;
  envelope.event_type = text("event_type");
  envelope.source_id = text("source_id");
  envelope.symbol = text("symbol");
  const auto time = Timestamp::parse_canonical(text("event_time"));
  const auto sequence = Decimal::parse(text("sequence"));
  if (!time || !sequence || !sequence->to_int64() || !parse_hex64(text("checksum"), envelope.checksum)) return std::nullopt;
  envelope.event_time = *time;
  envelope.sequence = static_cast<std::uint64_t>(*sequence->to_int64());
  return idempotency_key(envelope).to_hex();
}

class RecordingPublisher final : public Publisher {
 public:
  RecordingPublisher(std::unique_ptr<Publisher> inner, std::shared_ptr<File> file) : inner_(std::move(inner)), file_(std::move(file)) {}

  Status publish(std::span<const OutMessage> messages) override {
    UTP_CHECK(inner_->publish(messages));
    lines_.clear();
    for (const OutMessage& message : messages) {
      if (is_dead_letter_topic(message.topic)) continue;
      if (const auto key = key_of(tree_, message.value)) lines_ += *key + "\n";
    }
    // One write per batch on a file opened for appending: lines of several publishers do not mix.
    if (write(file_->fd(), lines_.data(), lines_.size()) != static_cast<ssize_t>(lines_.size())) {
      return fail(Code::kIo, fmt::format("the record of acknowledged keys cannot be written: {}", std::strerror(errno)));
    }
    return {};
  }
  Status sync() override { return inner_->sync(); }

 private:
  std::unique_ptr<Publisher> inner_;
  std::shared_ptr<File> file_;
  std::string lines_;
  JsonTree tree_;
};

class ChamberBus final : public Bus {
 public:
  ChamberBus(std::unique_ptr<Bus> inner, std::vector<TopicConfig> topics, std::shared_ptr<File> record)
      : inner_(std::move(inner)), topics_(std::move(topics)), record_(std::move(record)) {}

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    TopicOptions merged = options;
    const TopicConfig* config = find(topic);
    if (config) {
      merged.partitions = config->partitions.value_or(options.partitions);
      merged.retention_ns = config->retention_ns.value_or(options.retention_ns);
      merged.pack = config->pack.value_or(options.pack);
      merged.retention_bytes = config->retention_bytes.value_or(options.retention_bytes);
    }
    auto done = inner_->configure_topic(topic, merged);
    if (!done && config) return fail(done.error().code, fmt::format("{}: {}", config->place, done.error().message), done.error().retryable);
    return done;
  }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    UTP_TRY(auto publisher, inner_->publisher(options));
    if (!record_) return publisher;
    return std::unique_ptr<Publisher>(std::make_unique<RecordingPublisher>(std::move(publisher), record_));
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return inner_->subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return inner_->stats(pattern); }
  Status trim() override { return inner_->trim(); }
  Status delete_group(std::string_view group) override { return inner_->delete_group(group); }

 private:
  const TopicConfig* find(std::string_view topic) const {
    for (const TopicConfig& config : topics_) {
      if (topic_matches(topic_name("*", "*", config.event_type), topic)) return &config;
    }
    return nullptr;
  }

  std::unique_ptr<Bus> inner_;
  std::vector<TopicConfig> topics_;
  std::shared_ptr<File> record_;
};

}  // namespace

Result<std::unique_ptr<Bus>> make_chamber_bus(std::unique_ptr<Bus> bus, ChamberBusOptions options) {
  std::shared_ptr<File> record;
  if (!options.record_acknowledged.empty()) {
    const int fd = ::open(options.record_acknowledged.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return fail(Code::kPermission, fmt::format("{}: cannot be written: {}", options.record_acknowledged, std::strerror(errno)));
    record = std::make_shared<File>(fd);
  }
  return std::unique_ptr<Bus>(std::make_unique<ChamberBus>(std::move(bus), std::move(options.topics), std::move(record)));
}

}  // namespace utp::app
