#include "drivers/bus/nats/server.h"

#include <algorithm>
#include <sstream>

#include "core/log.h"
#include "model/envelope.h"

namespace utp::nats_bus {
namespace {

// For how long the server remembers the ids of messages: a publisher repeats on its own only within one call. Memory of the
// server: about 200 bytes for each message of that time.
constexpr std::int64_t kDuplicateNs = 20'000'000'000;
constexpr std::int64_t kAgeMinNs = 100'000'000;        // the server's least; trim() cuts finer
constexpr std::uint64_t kStreamBytesMin = 1 << 20;     // the largest message fits
constexpr std::string_view kMark = "utp topic";        // begins the description of each stream of this bus

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

std::string describe(const TopicOptions& options) {
  return std::string(kMark) + " partitions=" + std::to_string(options.partitions) + " retention_ns=" + std::to_string(options.retention_ns) +
         " retention_bytes=" + std::to_string(options.retention_bytes);
}

std::optional<TopicOptions> read_description(std::string_view text) {
  if (!text.starts_with(kMark)) return {};
  TopicOptions options{.partitions = 0};
  std::istringstream words{std::string(text.substr(kMark.size()))};
  for (std::string word; words >> word;) {
    const std::size_t equals = std::min(word.find('='), word.size());
    const auto value = read_number(std::string_view(word).substr(std::min(equals + 1, word.size())));
    const std::string_view name = std::string_view(word).substr(0, equals);
    if (!value) return {};
    if (name == "partitions") options.partitions = static_cast<std::uint32_t>(*value);
    if (name == "retention_ns") options.retention_ns = static_cast<std::int64_t>(*value);
    if (name == "retention_bytes") options.retention_bytes = *value;
  }
  if (options.partitions == 0) return {};
  return options;
}

}  // namespace

Result<std::shared_ptr<Link>> Server::link() {
  const std::int64_t asked_ns = steady_ns();
  std::lock_guard lock(mutex_);
  if (link_ != nullptr && link_->is_alive()) return link_;
  // Who waited while another tried in vain takes that for its own try: nobody waits for two timeouts.
  if (refused_ && refused_ns_ > asked_ns) return fail(*refused_);
  link_.reset();
  refused_.reset();
  auto made = [&]() -> Result<std::shared_ptr<Link>> {
    UTP_TRY(auto link, Link::connect(options_));
    UTP_CHECK(make_bucket(*link));
    return link;
  }();
  if (!made) {
    refused_ = made.error();
    refused_ns_ = steady_ns();
    return made;
  }
  link_ = *made;
  return link_;
}

std::shared_ptr<Turn> Server::turn(const std::string& stream) {
  std::lock_guard lock(mutex_);
  auto& turn = turns_[stream];
  if (turn == nullptr) turn = std::make_shared<Turn>();
  return turn;
}

// ---- topics ----

Result<std::vector<std::string>> Server::topic_names(Link& link) const {
  jsOptions options = link.js_options();
  const std::string subjects = names_.all_subjects();
  options.Stream.Info.SubjectsFilter = subjects.c_str();
  jsStreamNamesList* list = nullptr;
  jsErrCode code{};
  const natsStatus s = js_StreamNames(&list, link.js(), &options, &code);
  if (s == NATS_NOT_FOUND) return std::vector<std::string>();
  if (s != NATS_OK) return fail(link.error("listing streams", s, code));
  std::vector<std::string> topics;
  for (int i = 0; i < list->Count; ++i) {
    if (auto read = names_.read_stream(list->List[i])) topics.push_back(std::move(read->topic));
  }
  jsStreamNamesList_Destroy(list);
  std::sort(topics.begin(), topics.end());
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  return topics;
}

Result<std::vector<TopicRecord>> Server::topics(Link& link) const {
  jsOptions options = link.js_options();
  const std::string subjects = names_.all_subjects();
  options.Stream.Info.SubjectsFilter = subjects.c_str();
  jsStreamInfoList* list = nullptr;
  jsErrCode code{};
  const natsStatus s = js_Streams(&list, link.js(), &options, &code);
  if (s == NATS_NOT_FOUND) return std::vector<TopicRecord>();
  if (s != NATS_OK) return fail(link.error("listing streams", s, code));
  std::map<std::string, TopicRecord> topics;
  for (int i = 0; i < list->Count; ++i) {
    StreamFacts facts = facts_of(*list->List[i]);
    auto read = names_.read_stream(facts.name);
    const auto described = read_description(facts.description);
    if (!read || !described) continue;
    TopicRecord& record = topics[read->topic];
    record.topic = read->topic;
    if (read->partition == 0 || record.options.partitions < described->partitions) record.options = *described;
    record.streams.resize(std::max<std::size_t>(record.streams.size(), read->partition + 1));
    record.streams[read->partition] = std::move(facts);
  }
  jsStreamInfoList_Destroy(list);
  std::vector<TopicRecord> records;
  for (auto& [name, record] : topics) {
    record.streams.resize(record.options.partitions);
    records.push_back(std::move(record));
  }
  return records;
}

Result<std::optional<TopicRecord>> Server::topic(Link& link, std::string_view topic) const {
  const std::string name = names_.stream(topic, 0);
  UTP_TRY(const auto facts, link.stream(name));
  if (!facts) return std::optional<TopicRecord>();
  const auto described = read_description(facts->description);
  if (!described) {
    return fail(Code::kCorrupt, link.place() + ": stream " + name + " is not of this bus: its description is \"" +
                                    facts->description.substr(0, 200) + "\"; remove it, or use another prefix");
  }
  return std::optional(TopicRecord{std::string(topic), *described, {}});
}

Result<StreamFacts> Server::add_stream(Link& link, std::string_view topic, std::uint32_t partition, const TopicOptions& options,
                                       bool update, std::string made) const {
  const std::string name = names_.stream(topic, partition);
  const std::string subject = names_.subject(topic, partition);
  const char* subjects[] = {subject.c_str()};
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  config.Name = name.c_str();
  config.Subjects = subjects;
  config.SubjectsLen = 1;
  config.Storage = js_FileStorage;
  config.Discard = js_DiscardOld;
  config.Replicas = options_.replicas;
  config.AllowDirect = true;
  const std::uint64_t bytes = options.retention_bytes != 0 ? options.retention_bytes : options_.retention_bytes;
  config.MaxBytes = static_cast<std::int64_t>(std::max(bytes / options.partitions, kStreamBytesMin));
  config.MaxAge = options.retention_ns == 0 ? 0 : std::max(options.retention_ns, kAgeMinNs);
  config.Duplicates = config.MaxAge == 0 ? kDuplicateNs : std::min(config.MaxAge, kDuplicateNs);
  jsOptions js = link.js_options();
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  if (update) {  // an operator may have given it another number of replicas
    UTP_TRY(const auto there, link.stream(name));
    if (there) config.Replicas = there->replicas;
    if (there && made.empty()) made = there->made;
  }
  if (made.empty()) made = std::to_string(SystemClock().now().ns);
  const std::string description = describe(options) + std::string(kMadeMark) + made;
  config.Description = description.c_str();
  const natsStatus s =
      update ? js_UpdateStream(&raw, link.js(), &config, &js, &code) : js_AddStream(&raw, link.js(), &config, &js, &code);
  const std::unique_ptr<jsStreamInfo, Free> info(raw);
  if (s != NATS_OK) {
    if (!update && code == JSStreamNameExistErr) {  // with other retention: it was made meanwhile
      UTP_TRY(auto there, link.stream(name));
      if (there) return std::move(*there);
    }
    return fail(link.error("making stream " + name, s, code));
  }
  // What a server does not know it leaves out without a word.
  const jsStreamConfig& is = *info->Config;
  if (!is.AllowDirect || is.MaxBytes != config.MaxBytes || is.MaxAge != config.MaxAge || is.Duplicates != config.Duplicates) {
    return fail(Code::kUnsupported, link.place() + ": stream " + name +
                                        " was not made as asked for (direct reads, max_bytes, max_age, duplicate_window); the server has "
                                        "to be 2.9 or later");
  }
  StreamFacts facts = facts_of(*info);
  if (update || facts.last == 0) return facts;
  // A server of 2.9 that is killed while it makes a stream does not find it when it starts, and again at each start, though its
  // messages are on the disk: made anew the stream has them. It is the one that it was, and writing its settings mends it.
  UTP_TRY(const Lineage lineage, this->lineage(link, topic, partition));
  const std::size_t dot = lineage.run().rfind('.');
  log::warn("a stream that the server had forgotten was made anew, with the messages that it had",
            {{"stream", name}, {"messages", std::to_string(facts.messages)}});
  return add_stream(link, topic, partition, options, true, dot == std::string::npos ? facts.made : lineage.run().substr(dot + 1));
}

Result<StreamFacts> Server::open_stream(Link& link, const TopicRecord& record, std::uint32_t partition) const {
  UTP_TRY(auto facts, link.stream(names_.stream(record.topic, partition)));
  if (facts) return std::move(*facts);
  UTP_TRY(auto made, add_stream(link, record.topic, partition, record.options, false));
  UTP_CHECK(put(link, std::string(kTopicsKey), record.topic));
  return made;
}

Result<TopicRecord> Server::create_topic(Link& link, std::string_view topic, const TopicOptions& options, bool change) const {
  if (options.partitions == 0 || options.partitions > options_.partitions_max) {
    return fail(Code::kInvalidArgument, "topic " + std::string(topic) + ": " + std::to_string(options.partitions) +
                                            " partitions; give 1 to " + std::to_string(options_.partitions_max));
  }
  UTP_TRY(auto there, this->topic(link, topic));
  const bool fresh = !there;
  if (fresh) {
    // The first stream decides, should another make the topic with other options at the same time.
    UTP_CHECK(add_stream(link, topic, 0, options, false));
    UTP_TRY(there, this->topic(link, topic));
    if (!there) return fail(Code::kUnavailable, link.place() + ": topic " + std::string(topic) + " was removed while it was made; repeat the call", true);
  }
  TopicRecord record = std::move(*there);
  if (change && record.options.partitions != options.partitions) {
    return fail(Code::kAlreadyExists, "topic " + std::string(topic) + " has " + std::to_string(record.options.partitions) +
                                          " partitions, which cannot become " + std::to_string(options.partitions) +
                                          "; keep the number, or use another topic");
  }
  const bool update = change && describe(record.options) != describe(options);
  if (update) record.options = options;
  for (std::uint32_t p = 0; p < record.options.partitions; ++p) {
    UTP_CHECK(open_stream(link, record, p));
    if (update) UTP_CHECK(add_stream(link, topic, p, record.options, true));
  }
  if (fresh) UTP_CHECK(put(link, std::string(kTopicsKey), record.topic));
  return record;
}

// ---- the bucket ----

Status Server::make_bucket(Link& link) const {
  const std::string name = names_.bucket_stream();
  const std::string subject = names_.key_subject(">");
  const char* subjects[] = {subject.c_str()};
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  config.Name = name.c_str();
  config.Description = "utp: progress and members of groups";
  config.Subjects = subjects;
  config.SubjectsLen = 1;
  config.Storage = js_FileStorage;
  config.Discard = js_DiscardNew;
  config.MaxMsgsPerSubject = 1;
  config.Replicas = options_.replicas;
  config.AllowRollup = true;
  config.DenyDelete = true;
  config.AllowDirect = true;
  config.Duplicates = kDuplicateNs;
  jsOptions js = link.js_options();
  jsStreamInfo* raw = nullptr;
  jsErrCode code{};
  natsStatus s = js_AddStream(&raw, link.js(), &config, &js, &code);
  if (s != NATS_OK && code == JSStreamNameExistErr) s = js_GetStreamInfo(&raw, link.js(), name.c_str(), &js, &code);
  const std::unique_ptr<jsStreamInfo, Free> info(raw);
  if (s == NATS_NO_RESPONDERS) {
    return fail(Code::kUnsupported, link.place() + ": JetStream is off; start nats-server with -js, or enable it for this account");
  }
  if (s != NATS_OK) return fail(link.error("making the bucket " + names_.bucket(), s, code));
  if (!info->Config->AllowDirect || info->Config->MaxMsgsPerSubject != 1) {
    return fail(Code::kUnsupported, link.place() + ": the bucket " + names_.bucket() +
                                        " must have direct reads and a history of 1; the server has to be 2.9 or later, and a bucket that "
                                        "others made has to go, or use another prefix");
  }
  return {};
}

Result<Entry> Server::get(Link& link, const std::string& key) const {
  const std::string subject = names_.key_subject(key);
  const std::string stream = names_.bucket_stream();
  jsOptions options = link.js_options();
  jsDirectGetMsgOptions which;
  jsDirectGetMsgOptions_Init(&which);
  which.LastBySubject = subject.c_str();
  natsMsg* raw = nullptr;
  const natsStatus s = js_DirectGetMsg(&raw, link.js(), stream.c_str(), &options, &which);
  const Message message(raw);
  if (s == NATS_NOT_FOUND || s == NATS_NO_RESPONDERS) return Entry{};  // without a bucket there is nothing either
  if (s != NATS_OK) return fail(link.error("reading key " + key, s));
  Entry entry;
  entry.value.assign(natsMsg_GetData(raw), static_cast<std::size_t>(natsMsg_GetDataLength(raw)));
  entry.revision = natsMsg_GetSequence(raw);
  entry.time.ns = natsMsg_GetTime(raw);
  return entry;
}

Result<std::uint64_t> Server::put(Link& link, const std::string& key, const std::string& value,
                                  std::optional<std::uint64_t> expected) const {
  const std::string subject = names_.key_subject(key);
  natsMsg* raw = nullptr;
  natsStatus s = natsMsg_Create(&raw, subject.c_str(), nullptr, value.data(), static_cast<int>(value.size()));
  const Message message(raw);
  if (s == NATS_OK && expected)
    s = natsMsgHeader_Set(raw, "Nats-Expected-Last-Subject-Sequence", std::to_string(*expected).c_str());
  jsErrCode code{};
  for (bool again = false; s == NATS_OK; again = true) {
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.MaxWait = link.answer_timeout_ms();
    jsPubAck* ack = nullptr;
    s = js_PublishMsg(&ack, link.js(), raw, &options, &code);
    const std::unique_ptr<jsPubAck, Free> freed(ack);
    if (s == NATS_OK) return ack->Sequence;
    if (s != NATS_NO_RESPONDERS || again) break;
    UTP_CHECK(make_bucket(link));  // somebody has removed it
    s = NATS_OK;
  }
  return fail(link.error("writing key " + key, s, code));
}

Status Server::remove(Link& link, const std::string& key, std::uint64_t revision) const {
  const std::string subject = names_.key_subject(key);
  const std::string stream = names_.bucket_stream();
  jsOptions options = link.js_options();
  options.Stream.Purge.Subject = subject.c_str();
  if (revision != 0) options.Stream.Purge.Sequence = revision + 1;
  jsErrCode code{};
  const natsStatus s = js_PurgeStream(link.js(), stream.c_str(), &options, &code);
  if (s == NATS_OK || s == NATS_NOT_FOUND || code == JSStreamNotFoundErr) return {};
  return fail(link.error("removing key " + key, s, code));
}

Result<Timestamp> Server::now(Link& link) const {
  UTP_CHECK(put(link, std::string(kClockKey), "now"));
  UTP_TRY(const Entry entry, get(link, std::string(kClockKey)));
  return entry.time;
}

// The server finds it when a consumer starts at a time. The request is written here: the library's own leaves out zeros behind the
// point of a second, so that 12.045 becomes 12.45 and messages are missed.
Result<std::uint64_t> Server::sequence_before(Link& link, const std::string& stream, Timestamp time) const {
  const std::string text = Timestamp{std::max<std::int64_t>(time.ns, 1)}.to_string();
  const std::string body = "{\"stream_name\":\"" + stream + "\",\"config\":{\"deliver_policy\":\"by_start_time\",\"opt_start_time\":\"" + text +
                           "\",\"ack_policy\":\"none\",\"mem_storage\":true,\"num_replicas\":1,\"inactive_threshold\":1000000000}}";
  natsMsg* raw = nullptr;
  const natsStatus s = natsConnection_RequestString(&raw, link.connection(), ("$JS.API.CONSUMER.CREATE." + stream).c_str(), body.c_str(),
                                                    link.answer_timeout_ms());
  const Message message(raw);
  if (s != NATS_OK) return fail(link.error("finding a time in stream " + stream, s));
  const std::string_view json(natsMsg_GetData(raw), static_cast<std::size_t>(natsMsg_GetDataLength(raw)));
  const std::size_t delivered = json.find("\"delivered\"");
  if (delivered != std::string_view::npos) {
    if (const auto sequence = json_number(json.substr(delivered), "\"stream_seq\"")) return *sequence;
  }
  Error error = link.error("finding a time in stream " + stream, NATS_ERR, static_cast<int>(json_number(json, "\"err_code\"").value_or(0)));
  error.message += " (" + json_text(json, "\"description\"") + ")";
  return fail(std::move(error));
}

Result<Lineage> Server::lineage(Link& link, std::string_view topic, std::uint32_t partition) const {
  UTP_TRY(const Entry entry, get(link, lineage_key(topic, partition)));
  return Lineage::read(entry.value);
}

}  // namespace utp::nats_bus
