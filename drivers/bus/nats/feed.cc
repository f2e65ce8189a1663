#include "drivers/bus/nats/feed.h"

#include <array>
#include <chrono>
#include <cstdlib>
#include <random>

#include "drivers/bus/nats/names.h"

namespace utp::nats_bus {
namespace {

constexpr std::int64_t kOverdueNs = 2'000'000'000;      // a server says nothing to who asks a consumer that is gone
constexpr std::int64_t kIdleNs = 60'000'000'000;        // the server keeps a consumer for so long that nobody asks
constexpr std::string_view kAckPrefix = "$JS.ACK.";

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

// $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<number>.<time>.<pending>; with two more words in front of the stream, and
// one at the end, from servers that say their domain.
std::optional<Delivery> read_delivery(natsMsg* message) {
  const char* reply = natsMsg_GetReply(message);
  if (reply == nullptr || !std::string_view(reply).starts_with(kAckPrefix)) return {};
  std::array<std::string_view, 12> words;
  std::size_t count = 0;
  for (std::string_view rest(reply); count < words.size();) {
    const std::size_t dot = rest.find('.');
    words[count++] = rest.substr(0, dot);
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  if (count < 9 || count == 10) return {};
  const std::size_t at = count == 9 ? 2 : 4;
  Delivery delivery;
  delivery.consumer = words[at + 1];
  const auto sequence = read_number(words[at + 3]);
  const auto number = read_number(words[at + 4]);
  const auto time = read_number(words[at + 5]);
  if (!sequence || !number || !time) return {};
  delivery.sequence = *sequence;
  delivery.number = *number;
  delivery.time.ns = static_cast<std::int64_t>(*time);
  return delivery;
}

Result<std::unique_ptr<Inbox>> Inbox::open(std::shared_ptr<Link> link) {
  std::unique_ptr<Inbox> inbox(new Inbox(std::move(link)));
  std::random_device random;
  inbox->prefix_ = "_INBOX.utp." + std::to_string(random()) + std::to_string(random()) + ".";
  UTP_TRY(inbox->listener_, Listener::open(inbox->link_, inbox->prefix_ + "*"));
  return inbox;
}

std::optional<std::uint64_t> Inbox::number_of(natsMsg* message) const {
  const std::string_view subject(natsMsg_GetSubject(message));
  if (!subject.starts_with(prefix_)) return {};
  return read_number(subject.substr(prefix_.size()));
}

Result<Message> Inbox::next(std::int64_t timeout_ms) {
  Message message;
  const natsStatus s = listener_->next(message, timeout_ms);
  if (s == NATS_TIMEOUT) return Message();
  if (s == NATS_NO_RESPONDERS) return fail(Code::kNotFound, link_->place() + ": a reader of a stream is not there any more", true);
  if (s != NATS_OK) return fail(link_->error("reading", s));
  return message;
}

Result<bool> Feed::open(Inbox& inbox, std::uint64_t number, const FeedOptions& options) {
  close();
  Link& link = inbox.link();
  jsConsumerConfig config;
  jsConsumerConfig_Init(&config);
  config.AckPolicy = js_AckNone;
  config.DeliverPolicy = options.last_per_subject ? js_DeliverLastPerSubject : js_DeliverByStartSequence;
  if (!options.last_per_subject) config.OptStartSeq = options.start;
  if (!options.subject.empty()) config.FilterSubject = options.subject.c_str();
  config.InactiveThreshold = kIdleNs;
  config.MemoryStorage = true;
  config.Replicas = 1;
  jsOptions js = link.js_options();
  jsConsumerInfo* raw = nullptr;
  jsErrCode code{};
  const natsStatus s = js_AddConsumer(&raw, link.js(), options.stream.c_str(), &config, &js, &code);
  const std::unique_ptr<jsConsumerInfo, Free> info(raw);
  if (s == NATS_NOT_FOUND || code == JSStreamNotFoundErr) return false;
  if (s != NATS_OK) return fail(link.error("reading stream " + options.stream, s, code));
  // What a server does not know it leaves out without a word; a feed without its filter would read everything.
  const char* filter = info->Config->FilterSubject;
  const bool as_asked = info->Config->AckPolicy == config.AckPolicy && info->Config->DeliverPolicy == config.DeliverPolicy &&
                        options.subject == (filter != nullptr ? filter : "");
  if (!as_asked) {
    return fail(Code::kUnsupported, link.place() + ": a consumer of stream " + options.stream +
                                        " was not made as asked for; the server has to be 2.9 or later");
  }
  inbox_ = &inbox;
  stream_ = options.stream;
  consumer_ = info->Name;
  number_ = number;
  received_ = 0;
  pending_ = info->NumPending;
  asking_ = at_end_ = false;
  used_ns_ = steady_ns();
  return true;
}

void Feed::close() {
  if (consumer_.empty()) return;
  const std::string subject = "$JS.API.CONSUMER.DELETE." + stream_ + "." + consumer_;
  (void)natsConnection_Publish(inbox_->link().connection(), subject.c_str(), nullptr, 0);
  consumer_.clear();
  asking_ = false;
}

Status Feed::ask(std::size_t messages, std::size_t bytes, std::int64_t wait_ns) {
  std::string body = "{\"batch\":" + std::to_string(messages) + ",\"max_bytes\":" + std::to_string(bytes);
  if (!at_end_ || wait_ns == 0) body += ",\"no_wait\":true";
  if (wait_ns > 0) body += ",\"expires\":" + std::to_string(wait_ns);
  body += "}";
  const std::string subject = "$JS.API.CONSUMER.MSG.NEXT." + stream_ + "." + consumer_;
  const natsStatus s = natsConnection_PublishRequestString(inbox_->link().connection(), subject.c_str(), inbox_->subject(number_).c_str(),
                                                           body.c_str());
  if (s != NATS_OK) return fail(inbox_->link().error("reading stream " + stream_, s));
  asking_ = true;
  waiting_ = wait_ns > 0;
  at_end_ = false;
  asked_ = messages;
  used_ns_ = steady_ns();
  overdue_ns_ = used_ns_ + wait_ns + kOverdueNs;
  return {};
}

bool Feed::take(const Delivery& delivery) {
  if (delivery.number != received_ + 1) return false;
  ++received_;
  if (asked_ > 0 && --asked_ == 0) asking_ = false;
  return true;
}

bool Feed::take_status(natsMsg* message) {
  asking_ = false;
  const char* text = nullptr;
  if (natsMsgHeader_Get(message, "Status", &text) != NATS_OK || text == nullptr) return true;
  const int status = std::atoi(text);
  if (status == 404 || status == 408) {  // nothing there; over
    at_end_ = true;
    return true;
  }
  const char* description = nullptr;
  (void)natsMsgHeader_Get(message, "Description", &description);
  return status == 409 && description != nullptr && std::string_view(description).find("MaxBytes") != std::string_view::npos;
}

bool Feed::is_stale() const {
  const std::int64_t now = steady_ns();
  return is_open() && (asking_ ? now > overdue_ns_ : now > used_ns_ + kIdleNs / 2);
}

Status read_all(std::shared_ptr<Link> link, const FeedOptions& options, const std::function<void(const Delivery&, natsMsg*)>& take) {
  constexpr std::size_t kMessages = 1000;
  constexpr std::size_t kBytes = 4 << 20;
  constexpr std::int64_t kWaitNs = 1'000'000'000;  // only where somebody removed them meanwhile
  UTP_TRY(const auto inbox, Inbox::open(std::move(link)));
  Feed feed;
  UTP_TRY(const bool there, feed.open(*inbox, 1, options));
  if (!there || feed.pending_at_start() == 0) return {};
  while (!feed.is_at_end()) {
    if (!feed.is_asking()) {
      UTP_CHECK(feed.ask(kMessages, kBytes, kWaitNs));
      UTP_CHECK(inbox->link().flush());
    }
    UTP_TRY(const Message message, inbox->next(inbox->link().answer_timeout_ms()));
    if (message == nullptr) return fail(inbox->link().error("reading stream " + options.stream, NATS_TIMEOUT));
    const auto delivery = read_delivery(message.get());
    if (!delivery) {
      if (feed.take_status(message.get())) continue;
      return fail(Code::kUnavailable, inbox->link().place() + ": the server has lost a reader of stream " + options.stream + "; repeat the call", true);
    }
    if (feed.take(*delivery)) take(*delivery, message.get());
  }
  return {};
}

}  // namespace utp::nats_bus
