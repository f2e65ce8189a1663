#include "drivers/bus/kafka/client.h"

#include <algorithm>
#include <future>
#include <thread>

#include "core/log.h"

namespace utp::kafka_bus {
namespace {

constexpr std::int64_t kMillisMax = 300'000;

void write_log(const rd_kafka_t* rk, int level, const char* facility, const char* text) {
  const log::Fields fields = {
      {"client", rk != nullptr ? rd_kafka_name(rk) : "kafka"}, {"about", facility}, {"text", text}};
  constexpr std::string_view kMessage = "kafka client";
  const bool is_about_settings = std::string_view(facility) == "CONFWARN";  // ours, and meant
  if (is_about_settings || level > 6) {
    log::debug(kMessage, fields);
  } else if (level <= 2) {
    log::error(kMessage, fields);
  } else if (level <= 4) {
    log::warn(kMessage, fields);
  } else {
    log::info(kMessage, fields);
  }
}

}  // namespace

void FreeClient::operator()(rd_kafka_t* rk) const {
  constexpr auto kPatience = std::chrono::seconds(3);
  const std::string name = rd_kafka_name(rk);
  std::promise<void> done;
  auto is_done = done.get_future();
  std::thread closing([rk, done = std::move(done)]() mutable {
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    done.set_value();
  });
  if (is_done.wait_for(kPatience) == std::future_status::ready) {
    closing.join();
    return;
  }
  closing.detach();
  log::warn("a kafka client does not end; its memory and threads stay until the program does", {{"client", name}});
}

int millis(std::int64_t ns) {
  return static_cast<int>(std::clamp<std::int64_t>((ns + 999'999) / 1'000'000, 0, kMillisMax));
}

std::string place(const KafkaBusOptions& options) { return "kafka " + options.servers; }

Result<Client> new_client(rd_kafka_type_t type, const KafkaBusOptions& options, const std::vector<Setting>& settings,
                          void (*configure)(rd_kafka_conf_t*), void* opaque) {
  std::vector<Setting> all;
  for (const auto& [name, value] : options.properties) all.push_back({name.c_str(), value});
  const bool has_user = !options.user.empty();
  all.push_back({"bootstrap.servers", options.servers});
  all.push_back({"security.protocol", !options.security.empty() ? options.security
                                      : has_user                ? "sasl_ssl"
                                                                : "plaintext"});
  if (has_user) {
    all.push_back({"sasl.mechanisms", options.mechanism});
    all.push_back({"sasl.username", options.user});
    all.push_back({"sasl.password", options.password});
  }
  const std::string answer_ms = std::to_string(std::max(millis(options.answer_timeout_ns), 10));
  all.push_back({"socket.timeout.ms", answer_ms});
  all.push_back(
      {"socket.connection.setup.timeout.ms", std::to_string(std::max(millis(options.connect_timeout_ns), 1000))});
  all.push_back({"socket.nagle.disable", "true"});
  all.push_back({"reconnect.backoff.ms", "50"});
  all.push_back({"reconnect.backoff.max.ms", "1000"});
  all.push_back({"log.connection.close", "false"});
  all.insert(all.end(), settings.begin(), settings.end());

  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char reason[512] = "";
  for (const Setting& setting : all) {
    if (rd_kafka_conf_set(conf, setting.name, setting.value.c_str(), reason, sizeof reason) == RD_KAFKA_CONF_OK)
      continue;
    rd_kafka_conf_destroy(conf);  // its reason may show a secret
    return fail(Code::kInvalidArgument, place(options) + ": librdkafka does not take the value of " + setting.name +
                                            "; see its CONFIGURATION.md");
  }
  rd_kafka_conf_set_log_cb(conf, write_log);
  rd_kafka_conf_set_opaque(conf, opaque);
  if (configure != nullptr) configure(conf);
  rd_kafka_t* rk = rd_kafka_new(type, conf, reason, sizeof reason);
  if (rk != nullptr) return Client(rk);
  rd_kafka_conf_destroy(conf);
  return fail(Code::kInvalidArgument,
              place(options) + ": librdkafka cannot be started: " + reason + "; see its CONFIGURATION.md");
}

bool is_refusal(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || error == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
         error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

Error to_error(const KafkaBusOptions& options, std::string_view what, rd_kafka_resp_err_t error,
               std::string_view detail) {
  std::string message = place(options) + ": " + std::string(what) + ": " +
                        (detail.empty() ? rd_kafka_err2str(error) : std::string(detail));
  if (is_refusal(error)) return {Code::kPermission, message + "; the rights that this user needs are in the driver's README", false};
  switch (error) {
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
      return {Code::kPermission,
              message + "; check user, password (UTP_KAFKA_PASSWORD) and the security setting of the URL", false};
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
      return {Code::kFull, message + "; a broker's disk is full or failed: make room or replace it, then repeat", true};
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
      return {Code::kUnavailable, message + "; start the brokers that are away (or lower min.insync.replicas), then repeat", true};
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return {Code::kInvalidArgument, message + "; raise message.max.bytes of the brokers to 1 MiB", false};
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR__INVALID_ARG: return {Code::kInvalidArgument, std::move(message), false};
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
      return {Code::kUnsupported, message + "; the brokers must be of Kafka 2.4 or later", false};
    default: return {Code::kUnavailable, message + "; the call can be repeated", true};
  }
}

}  // namespace utp::kafka_bus
