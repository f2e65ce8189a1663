#include "drivers/bus/nats/link.h"

#include <algorithm>

#include "core/log.h"
#include "model/envelope.h"

namespace utp::nats_bus {
namespace {

// The largest message with its headers: key (every byte encoded as three), ids.
constexpr std::int64_t kPayloadNeeded = kEnvelopeBytesMax + 3 * kNatsBusKeyBytesMax + 1024;

std::int64_t milliseconds(std::int64_t ns) { return std::max<std::int64_t>(ns / 1'000'000, 1); }

std::string joined(const std::vector<std::string>& servers) {
  std::string out;
  for (const std::string& server : servers) out += (out.empty() ? "" : ",") + server;
  return out;
}

}  // namespace

StreamFacts facts_of(const jsStreamInfo& info) {
  StreamFacts facts;
  facts.name = info.Config->Name != nullptr ? info.Config->Name : "";
  facts.description = info.Config->Description != nullptr ? info.Config->Description : "";
  const std::size_t mark = facts.description.rfind(kMadeMark);
  facts.made = mark == std::string::npos ? std::to_string(info.Created) : facts.description.substr(mark + kMadeMark.size());
  facts.messages = info.State.Msgs;
  facts.bytes = info.State.Bytes;
  facts.first = info.State.FirstSeq;
  facts.last = info.State.LastSeq;
  if (facts.messages != 0) {
    facts.first_time.ns = info.State.FirstTime;
    facts.last_time.ns = info.State.LastTime;
  }
  facts.replicas = info.Config->Replicas;
  facts.bytes_max = static_cast<std::uint64_t>(std::max<std::int64_t>(info.Config->MaxBytes, 0));
  facts.is_clustered = info.Cluster != nullptr && info.Cluster->Name != nullptr;
  return facts;
}

Link::Link(const NatsBusOptions& options)
    : place_("nats " + joined(options.servers)), answer_timeout_ms_(milliseconds(options.answer_timeout_ns)) {}

Link::~Link() {
  jsCtx_Destroy(js_);
  natsConnection_Close(connection_);  // its reading thread has ended then
  for (natsSubscription* subscription : retired_) natsSubscription_Destroy(subscription);
  natsConnection_Destroy(connection_);
}

Result<std::unique_ptr<Listener>> Listener::open(std::shared_ptr<Link> link, const std::string& subject) {
  natsSubscription* made = nullptr;
  natsStatus s = natsConnection_SubscribeSync(&made, link->connection(), subject.c_str());
  if (s != NATS_OK) return fail(link->error("subscribing", s));
  std::unique_ptr<Listener> listener(new Listener(std::move(link), made));
  s = natsSubscription_SetPendingLimits(made, -1, -1);
  if (s != NATS_OK) return fail(listener->link_->error("subscribing", s));
  return listener;
}

Listener::~Listener() { link_->retire(subscription_); }

natsStatus Listener::next(Message& message, std::int64_t timeout_ms) {
  natsMsg* raw = nullptr;
  const natsStatus s = natsSubscription_NextMsg(&raw, subscription_, timeout_ms);
  message.reset(raw);
  return s;
}

void Link::retire(natsSubscription* subscription) {
  (void)natsSubscription_Unsubscribe(subscription);  // nothing new finds it
  std::lock_guard lock(mutex_);
  retired_.push_back(subscription);
}

void Link::on_error(natsConnection* connection, natsSubscription*, natsStatus status, void* self) {
  if (status != NATS_NOT_PERMITTED) return;
  const char* text = nullptr;
  (void)natsConnection_GetLastError(connection, &text);
  auto* link = static_cast<Link*>(self);
  std::lock_guard lock(link->mutex_);
  link->refused_ = text != nullptr ? text : natsStatus_GetText(status);
}

Result<std::shared_ptr<Link>> Link::connect(const NatsBusOptions& options) {
  std::shared_ptr<Link> link(new Link(options));
  natsOptions* made = nullptr;
  natsStatus s = natsOptions_Create(&made);
  const std::unique_ptr<natsOptions, Free> o(made);
  std::vector<std::string> urls;
  std::vector<const char*> servers;
  for (const std::string& server : options.servers) urls.push_back((options.tls ? "tls://" : "nats://") + server);
  for (const std::string& url : urls) servers.push_back(url.c_str());
  const auto set = [&](natsStatus done) { s = s == NATS_OK ? done : s; };
  if (s == NATS_OK) {
    set(natsOptions_SetServers(made, servers.data(), static_cast<int>(servers.size())));
    set(natsOptions_SetName(made, "utp"));
    set(natsOptions_SetTimeout(made, milliseconds(options.connect_timeout_ns)));
    set(natsOptions_SetAllowReconnect(made, false));
    set(natsOptions_SetPingInterval(made, link->answer_timeout_ms_));
    set(natsOptions_SetMaxPingsOut(made, 1));
    set(natsOptions_SetWriteDeadline(made, link->answer_timeout_ms_));
    set(natsOptions_SetErrorHandler(made, &Link::on_error, link.get()));
    if (!options.user.empty() || !options.password.empty())
      set(natsOptions_SetUserInfo(made, options.user.c_str(), options.password.c_str()));
    if (!options.token.empty()) set(natsOptions_SetToken(made, options.token.c_str()));
    if (options.tls) {
      const natsStatus secure = natsOptions_SetSecure(made, true);
      if (secure == NATS_ILLEGAL_STATE || secure == NATS_NO_SERVER_SUPPORT) {
        return fail(Code::kUnsupported, link->place_ + ": this program's NATS client has no TLS; use nats:// on a trusted network, or "
                                                       "through a TLS tunnel on this machine (such as stunnel)");
      }
      set(secure);
      if (!options.ca_file.empty()) {
        const natsStatus loaded = natsOptions_LoadCATrustedCertificates(made, options.ca_file.c_str());
        if (loaded != NATS_OK) return fail(Code::kInvalidArgument, link->place_ + ": the CA file " + options.ca_file + " cannot be read");
      }
    }
  }
  if (s == NATS_OK) s = natsConnection_Connect(&link->connection_, made);
  if (s == NATS_OK) s = natsConnection_JetStream(&link->js_, link->connection_, nullptr);
  if (s == NATS_CONNECTION_AUTH_FAILED) {
    return fail(Code::kPermission, link->place_ + ": the server refuses this user, password or token; give the right ones in the URL, the "
                                                  "password in UTP_NATS_PASSWORD or the token in UTP_NATS_TOKEN");
  }
  if (s == NATS_SSL_ERROR || s == NATS_SECURE_CONNECTION_REQUIRED || s == NATS_SECURE_CONNECTION_WANTED) {
    const char* detail = nats_GetLastError(nullptr);
    return fail(Code::kPermission, link->place_ + ": no TLS connection: " + (detail != nullptr ? detail : natsStatus_GetText(s)) +
                                       "; write tls:// where the server has TLS (and nats:// where not), and trust its CA");
  }
  if (s != NATS_OK) {
    return fail(Code::kUnavailable, link->place_ + ": cannot connect (" + natsStatus_GetText(s) + "); is the server running and reachable?",
                true);
  }
  char run[128] = "";
  (void)natsConnection_GetConnectedServerId(link->connection_, run, sizeof run);
  link->run_ = run;
  if (natsConnection_GetMaxPayload(link->connection_) < kPayloadNeeded) {
    return fail(Code::kUnsupported, link->place_ + ": the server takes messages of at most " +
                                        std::to_string(natsConnection_GetMaxPayload(link->connection_)) + " bytes; set max_payload to 1MB");
  }
  return link;
}

bool Link::is_alive() const { return natsConnection_Status(connection_) == NATS_CONN_STATUS_CONNECTED; }

jsOptions Link::js_options() const {
  jsOptions options;
  jsOptions_Init(&options);
  options.Wait = answer_timeout_ms_;
  return options;
}

Status Link::flush() {
  std::vector<natsSubscription*> retired;
  {
    std::lock_guard lock(mutex_);
    retired.swap(retired_);
  }
  const natsStatus s = natsConnection_FlushTimeout(connection_, answer_timeout_ms_);
  if (s == NATS_OK) {  // the reading thread has taken the server's answer, and left behind what it was at before
    for (natsSubscription* subscription : retired) natsSubscription_Destroy(subscription);
    return {};
  }
  Error lost = error("sending", s);
  std::lock_guard lock(mutex_);
  retired_.insert(retired_.end(), retired.begin(), retired.end());
  return fail(std::move(lost));
}

Error Link::error(std::string_view doing, natsStatus status, int code) const {
  const char* last = nats_GetLastError(nullptr);
  const std::string detail = last != nullptr && *last != '\0' ? last : natsStatus_GetText(status);
  const std::string place = place_ + ": " + std::string(doing) + ": ";
  switch (code) {
    case JSStreamWrongLastSequenceErr: return {Code::kFenced, place + detail, false};
    case JSStreamNotFoundErr:
    case JSNoMessageFoundErr: return {Code::kNotFound, place + detail, true};
    case JSNotEnabledErr:
    case JSNotEnabledForAccountErr:
      return {Code::kUnsupported, place + "JetStream is off (" + detail + "); start nats-server with -js, or enable it for this account", false};
    case JSInsufficientResourcesErr:
    case JSStorageResourcesExceededErr:
    case JSMemoryResourcesExceededErr:
    case JSAccountResourcesExceededErr:
    case JSMaximumStreamsLimitErr:
    case JSStreamStoreFailedErr:
    case JSNoLimitsErr:
      return {Code::kFull, place + detail + "; raise max_file_store or the account's limits, or lower the topics' retention_bytes", true};
    default: break;
  }
  switch (status) {
    case NATS_TIMEOUT: {
      std::string refused;
      {
        std::lock_guard lock(mutex_);
        refused.swap(refused_);
      }
      if (!refused.empty())
        return {Code::kPermission, place + "the server refuses: " + refused + "; give the user the rights that the driver's README lists", false};
      return {Code::kUnavailable, place + "no answer within " + std::to_string(answer_timeout_ms_) + " ms; repeat the call", true};
    }
    case NATS_NO_RESPONDERS: return {Code::kUnavailable, place + "nobody answers: no JetStream, or no leader at the moment; repeat the call", true};
    case NATS_NOT_PERMITTED: return {Code::kPermission, place + detail, false};
    case NATS_NOT_FOUND: return {Code::kNotFound, place + detail, true};
    case NATS_MAX_PAYLOAD: return {Code::kInvalidArgument, place + detail, false};
    default: return {Code::kUnavailable, place + detail + "; repeat the call", true};
  }
}

Result<std::optional<StreamFacts>> Link::stream(const std::string& name) {
  jsOptions options = js_options();
  jsStreamInfo* info = nullptr;
  jsErrCode code{};
  const natsStatus s = js_GetStreamInfo(&info, js_, name.c_str(), &options, &code);
  const std::unique_ptr<jsStreamInfo, Free> freed(info);
  if (s == NATS_OK) return std::optional(facts_of(*info));
  if (s == NATS_NOT_FOUND || code == JSStreamNotFoundErr) return std::optional<StreamFacts>();
  return fail(error("stream " + name, s, code));
}

Result<std::optional<Timestamp>> Link::time_at(const std::string& stream, const std::string& subject, std::uint64_t sequence) {
  jsOptions options = js_options();
  jsDirectGetMsgOptions which;
  jsDirectGetMsgOptions_Init(&which);
  which.Sequence = sequence;
  which.NextBySubject = subject.c_str();
  natsMsg* raw = nullptr;
  const natsStatus s = js_DirectGetMsg(&raw, js_, stream.c_str(), &options, &which);
  const Message message(raw);
  if (s == NATS_OK) return std::optional(Timestamp{natsMsg_GetTime(raw)});
  if (s == NATS_NOT_FOUND || s == NATS_NO_RESPONDERS) return std::optional<Timestamp>();
  return fail(error("stream " + stream, s));
}

Status Link::purge(const std::string& stream, std::uint64_t sequence) {
  jsOptions options = js_options();
  options.Stream.Purge.Sequence = sequence + 1;
  jsErrCode code{};
  const natsStatus s = js_PurgeStream(js_, stream.c_str(), &options, &code);
  if (s == NATS_OK || s == NATS_NOT_FOUND || code == JSStreamNotFoundErr) return {};
  return fail(error("trimming stream " + stream, s, code));
}

}  // namespace utp::nats_bus
