// Kafka without our bus: a producer with acks=all and a member of a consumer group that commits, through librdkafka. Its records
// have a key and three headers, as the bus's have.
#include <librdkafka/rdkafka.h>

#include "bus_server.h"
#include "drivers/bus/kafka/kafka_server.h"

namespace utp::bench {
namespace {

class BareKafka final : public BareClient {
 public:
  // `name`: of the topic, and of the group.
  BareKafka(int port, std::string name) : port_(port), name_(std::move(name)) {}
  ~BareKafka() override {
    drop();
    if (queue_ != nullptr) rd_kafka_queue_destroy(queue_);
    if (consumer_ != nullptr) rd_kafka_consumer_close(consumer_);
    for (rd_kafka_t* client : {consumer_, producer_}) {
      if (client != nullptr) rd_kafka_destroy(client);
    }
    rd_kafka_headers_destroy(headers_);
  }
  BareKafka(const BareKafka&) = delete;
  BareKafka& operator=(const BareKafka&) = delete;

  void publish(std::span<const std::string> values) override {
    if (producer_ == nullptr) {
      producer_ = make(RD_KAFKA_PRODUCER, {{"acks", "all"}, {"linger.ms", "0"}});
      for (const auto& [header, value] : {std::pair("utp-realm", "bench"), {"utp-region", "local"}, {"utp-type", "quotes/v2"}}) {
        rd_kafka_header_add(headers_, header, -1, value, -1);
      }
    }
    for (const std::string& value : values) {
      must(rd_kafka_producev(producer_, RD_KAFKA_V_TOPIC(name_.c_str()), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_KEY("BTC-USD", 7), RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()),
                             RD_KAFKA_V_HEADERS(rd_kafka_headers_copy(headers_)), RD_KAFKA_V_END),
           "publishing");
    }
    waiting_ += values.size();
    while (waiting_ > 0) rd_kafka_poll(producer_, 1000);
  }

  std::span<const std::string_view> consume(std::size_t max, int timeout_ms) override {
    if (consumer_ == nullptr) subscribe();
    drop();
    rd_kafka_message_t* first = rd_kafka_consumer_poll(consumer_, timeout_ms);  // the batch call would wait for all of them
    if (first == nullptr) return values_;
    records_.resize(max);
    records_[0] = first;
    const ssize_t more = rd_kafka_consume_batch_queue(queue_, 0, records_.data() + 1, max - 1);
    records_.resize(1 + static_cast<std::size_t>(std::max<ssize_t>(more, 0)));
    for (const rd_kafka_message_t* record : records_) {
      must(record->err, "reading");
      values_.emplace_back(static_cast<const char*>(record->payload), record->len);
    }
    must(rd_kafka_commit_message(consumer_, records_.back(), 0), "committing");
    return values_;
  }

 private:
  static void must(rd_kafka_resp_err_t error, const char* doing) {
    if (error) die(std::string("bare client: ") + doing + ": " + rd_kafka_err2str(error));
  }
  static void delivered(rd_kafka_t*, const rd_kafka_message_t* record, void* self) {
    must(record->err, "publishing");
    --static_cast<BareKafka*>(self)->waiting_;
  }
  rd_kafka_t* make(rd_kafka_type_t type, std::vector<std::pair<const char*, std::string>> settings) {
    settings.emplace_back("bootstrap.servers", "127.0.0.1:" + std::to_string(port_));
    settings.emplace_back("socket.nagle.disable", "true");
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char reason[512] = "";
    for (const auto& [setting, value] : settings) {
      if (rd_kafka_conf_set(conf, setting, value.c_str(), reason, sizeof reason) != RD_KAFKA_CONF_OK) die(reason);
    }
    rd_kafka_conf_set_opaque(conf, this);
    if (type == RD_KAFKA_PRODUCER) rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t* client = rd_kafka_new(type, conf, reason, sizeof reason);
    if (client == nullptr) die(std::string("bare client: ") + reason);
    return client;
  }
  void subscribe() {
    consumer_ = make(RD_KAFKA_CONSUMER, {{"group.id", name_},
                                         {"enable.auto.commit", "false"},
                                         {"auto.offset.reset", "earliest"},
                                         {"session.timeout.ms", "10000"}});
    must(rd_kafka_poll_set_consumer(consumer_), "subscribing");
    queue_ = rd_kafka_queue_get_consumer(consumer_);
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, name_.c_str(), RD_KAFKA_PARTITION_UA);
    must(rd_kafka_subscribe(consumer_, list), "subscribing");
    rd_kafka_topic_partition_list_destroy(list);
  }
  void drop() {
    for (rd_kafka_message_t* record : records_) rd_kafka_message_destroy(record);
    records_.clear();
    values_.clear();
  }

  int port_;
  std::string name_;
  rd_kafka_t* producer_ = nullptr;
  rd_kafka_headers_t* headers_ = rd_kafka_headers_new(3);
  rd_kafka_t* consumer_ = nullptr;
  rd_kafka_queue_t* queue_ = nullptr;
  std::size_t waiting_ = 0;
  std::vector<rd_kafka_message_t*> records_;
  std::vector<std::string_view> values_;
};

// Its server takes seconds to start, and more until its code is compiled: one for all, with names of its own each time.
class Kafka final : public BusServer {
 public:
  Kafka() : server_(one()), prefix_(kafka_bus_test::KafkaServer::new_prefix()) {}
  std::unique_ptr<Bus> open() override {
    auto bus = open_kafka_bus(server_.options(prefix_));
    if (!bus) die(bus.error().message);
    return std::move(*bus);
  }
  pid_t pid() const override { return server_.pid(); }
  std::unique_ptr<BareClient> bare() override { return std::make_unique<BareKafka>(server_.port(), prefix_ + "bare"); }
  std::optional<double> tool_publish(std::size_t, std::size_t) override { return {}; }

 private:
  static kafka_bus_test::KafkaServer& one() {
    static kafka_bus_test::KafkaServer server("auto.create.topics.enable=true\n");  // the bare client's
    static const bool is_warm = [] {
      if (!server.is_running()) die("the Kafka server does not start; see " + server.folder() + "/output");
      BareKafka client(server.port(), "warm");
      const std::vector<std::string> values(kBatch, std::string(kMessageBytes, 'x'));
      for (int i = 0; i < 50; ++i) client.publish(values);
      return true;
    }();
    (void)is_warm;
    return server;
  }

  kafka_bus_test::KafkaServer& server_;
  std::string prefix_;
};

}  // namespace

ServerKind kafka_kind() {
  return {"kafka", kafka_bus_test::KafkaServer::missing(), [] { return std::make_unique<Kafka>(); }};
}

}  // namespace utp::bench
