// NATS without our bus: js_PublishMsgAsync and a pull consumer, through cnats. Its messages have an id, for the server to tell
// repetitions by, and a key, as the bus's have.
#include <nats/nats.h>

#include <chrono>

#include "bus_server.h"
#include "drivers/bus/nats/nats_server.h"

namespace utp::bench {
namespace {

constexpr const char* kStream = "bare";
constexpr std::int64_t kTimeoutMs = 10'000;

void must(natsStatus s, const char* doing) {
  if (s == NATS_OK) return;
  const char* detail = nats_GetLastError(nullptr);
  die(std::string("bare client: ") + doing + ": " + natsStatus_GetText(s) + " " + (detail != nullptr ? detail : ""));
}

class BareNats final : public BareClient {
 public:
  explicit BareNats(int port) {
    must(natsConnection_ConnectTo(&connection_, ("nats://127.0.0.1:" + std::to_string(port)).c_str()), "connecting");
    jsOptions options;
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = 2 * kBatch;
    options.PublishAsync.ErrHandler = [](jsCtx*, jsPubAckErr* error, void*) {
      die(std::string("bare client: a message was refused: ") + error->ErrText);
    };
    must(natsConnection_JetStream(&js_, connection_, &options), "JetStream");
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = kStream;
    const char* subjects[] = {kStream};
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    must(js_AddStream(nullptr, js_, &config, nullptr, nullptr), "making the stream");  // of the second client: there already
  }
  ~BareNats() override {
    natsMsgList_Destroy(&list_);
    natsSubscription_Destroy(subscription_);
    jsCtx_Destroy(js_);
    natsConnection_Destroy(connection_);
  }
  BareNats(const BareNats&) = delete;
  BareNats& operator=(const BareNats&) = delete;

  void publish(std::span<const std::string> values) override {
    for (const std::string& value : values) {
      natsMsg* message = nullptr;
      must(natsMsg_Create(&message, kStream, nullptr, value.data(), static_cast<int>(value.size())), "publishing");
      must(natsMsgHeader_Set(message, "Key", "BTC-USD"), "publishing");
      jsPubOptions options;
      jsPubOptions_Init(&options);
      const std::string id = id_ + std::to_string(++number_);
      options.MsgId = id.c_str();
      if (values.size() == 1) {
        must(js_PublishMsg(nullptr, js_, message, &options, nullptr), "publishing");
        natsMsg_Destroy(message);
        return;
      }
      must(js_PublishMsgAsync(js_, &message, &options), "publishing");
    }
    must(js_PublishAsyncComplete(js_, nullptr), "waiting for the server to store messages");
  }

  // One acknowledgement for the whole batch, and an answer to it.
  std::span<const std::string_view> consume(std::size_t max, int timeout_ms) override {
    if (subscription_ == nullptr) subscribe();
    values_.clear();
    natsMsgList_Destroy(&list_);
    jsFetchRequest request;
    jsFetchRequest_Init(&request);
    request.Batch = static_cast<int>(max);
    request.Expires = std::int64_t{timeout_ms} * 1'000'000;
    request.NoWait = true;  // what is there; where nothing is, what comes next
    const natsStatus s = natsSubscription_FetchRequest(&list_, subscription_, &request);
    if (s != NATS_TIMEOUT && s != NATS_NOT_FOUND) must(s, "reading");
    for (int i = 0; i < list_.Count; ++i) {
      values_.emplace_back(natsMsg_GetData(list_.Msgs[i]), static_cast<std::size_t>(natsMsg_GetDataLength(list_.Msgs[i])));
    }
    if (list_.Count > 0) must(natsMsg_AckSync(list_.Msgs[list_.Count - 1], nullptr, nullptr), "acknowledging");
    return values_;
  }

 private:
  void subscribe() {
    jsSubOptions options;
    jsSubOptions_Init(&options);
    options.ManualAck = true;
    options.Stream = kStream;
    options.Config.AckPolicy = js_AckAll;
    options.Config.MaxAckPending = 10'000;
    must(js_PullSubscribe(&subscription_, js_, kStream, "g", nullptr, &options, nullptr), "subscribing");
  }

  natsConnection* connection_ = nullptr;
  jsCtx* js_ = nullptr;
  std::string id_ = "bare" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()) + "-";
  std::uint64_t number_ = 0;
  natsSubscription* subscription_ = nullptr;
  natsMsgList list_{};
  std::vector<std::string_view> values_;
};

class Nats final : public BusServer {
 public:
  Nats() {
    if (!server_.is_running()) die("the NATS server does not start; see " + server_.folder() + "/output");
  }
  std::unique_ptr<Bus> open() override {
    NatsBusOptions options = server_.options();
    options.retention_bytes = std::uint64_t{256} << 20;
    auto bus = open_nats_bus(options);
    if (!bus) die(bus.error().message);
    return std::move(*bus);
  }
  pid_t pid() const override { return server_.pid(); }
  std::unique_ptr<BareClient> bare() override { return std::make_unique<BareNats>(server_.port()); }
  std::optional<double> tool_publish(std::size_t, std::size_t) override { return {}; }

 private:
  nats_bus_test::NatsServer server_;
};

}  // namespace

ServerKind nats_kind() {
  return {"nats", nats_bus_test::NatsServer::missing(),
          [] { return std::make_unique<Nats>(); }};
}

}  // namespace utp::bench
