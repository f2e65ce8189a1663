#include "persist/dlq.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/base64.h"
#include "core/hash.h"
#include "core/json_writer.h"
#include "core/log.h"
#include "normalize/dead_letter.h"
#include "persist/json_merge.h"
#include "schema/json.h"

namespace utp {
namespace {

constexpr std::size_t kPollMessages = 256;
constexpr std::size_t kPollBytes = 8u << 20;
constexpr std::int64_t kPollWaitNs = 20'000'000;  // a bus on the network may need a moment; an empty answer is the end
constexpr std::string_view kReplayed = "replayed";
constexpr std::string_view kDropped = "dropped";

// One dlq/v1 event: a letter, or a part of one.
struct Part {
  DlqEntry entry;  // `original`: this part's bytes
  std::uint64_t part = 0;
  std::uint64_t parts = 1;
  std::string tombstone_of;
};

std::string letter_id(const DlqEntry& e) {
  std::string text;
  const auto put = [&](std::string_view field) { text.append(std::to_string(field.size())).append(1, ':').append(field); };
  for (std::string_view field : {std::string_view(e.origin_topic), std::string_view(e.connector), std::string_view(e.original_hash),
                                 std::string_view(e.stage), std::string_view(e.code), std::string_view(e.path)}) {
    put(field);
  }
  put(e.origin_partition ? std::to_string(*e.origin_partition) : "");
  put(e.origin_position ? std::to_string(*e.origin_position) : "");
  put(e.connection ? std::to_string(*e.connection) : "");
  put(e.receive_time ? e.receive_time->to_string() : "");
  return hash128(text).to_hex();
}

Part read_part(const Event& event, const InMessage& message) {
  Part part;
  const Row& row = event.row;
  const auto value = [&](const char* name) -> const Value& {
    static const Value kAbsent{};
    const auto column = row.plan().column(name);
    return column ? row[*column] : kAbsent;
  };
  const auto text = [&](const char* name) { return value(name).kind == Kind::kText ? std::string(value(name).as_text()) : std::string(); };
  const auto number = [&](const char* name) -> std::optional<std::uint64_t> {
    if (value(name).kind != Kind::kInteger) return std::nullopt;
    return static_cast<std::uint64_t>(value(name).as_integer());
  };
  DlqEntry& e = part.entry;
  e.dlq_topic = message.topic;
  e.stage = text("stage");
  e.code = text("code");
  e.path = text("path");
  e.message = text("message");
  e.attempts = static_cast<std::uint32_t>(number("attempts").value_or(1));
  e.original = decode_base64(text("original")).value_or(std::string());
  e.original_bytes = number("original_bytes").value_or(0);
  e.original_hash = text("original_hash");
  e.origin_topic = text("origin_topic");
  if (const auto n = number("origin_partition")) e.origin_partition = static_cast<std::uint32_t>(*n);
  e.origin_position = number("origin_position");
  e.connector = text("connector");
  e.event_type = text("event_type");
  e.frame_kind = text("frame_kind");
  if (const auto n = number("connection")) e.connection = static_cast<std::uint32_t>(*n);
  if (value("receive_time").kind == Kind::kTime) e.receive_time = value("receive_time").as_time();
  e.symbol = event.envelope.symbol;
  e.written_time = event.envelope.ingest_time;
  part.part = number("part").value_or(0);
  part.parts = number("parts").value_or(1);
  part.tombstone_of = text("repaired_from");
  e.id = letter_id(e);
  return part;
}

bool is_tombstone(const Part& part) {
  return !part.tombstone_of.empty() && part.entry.original_bytes == 0 && (part.entry.code == kReplayed || part.entry.code == kDropped);
}

bool matches(const DlqFilter& filter, const DlqEntry& e) {
  if (!e.id.starts_with(filter.id)) return false;
  if (!filter.code.empty() && e.code != filter.code) return false;
  if (!filter.connector.empty() && e.connector != filter.connector) return false;
  if (!filter.event_type.empty() && e.event_type != filter.event_type) return false;
  if (!filter.topic.empty() && e.origin_topic != filter.topic && e.dlq_topic != filter.topic &&
      !topic_matches(filter.topic, e.origin_topic)) {
    return false;
  }
  if (filter.since && e.receive_time.value_or(e.written_time) < *filter.since) return false;
  return filter.finished || e.finished.empty();
}

}  // namespace

struct Dlq::Impl {
  Bus& bus;
  const Registry& registry;
  const Clock& clock;
  DlqOptions options;
  EventReader reader{registry};
  std::unique_ptr<Publisher> publisher{};
  std::unique_ptr<DeadLetterWriter> tombstones{};

  // Every dlq/v1 event that was there at the call. kCancelled when options.stop says so.
  Status read(const std::function<bool(Part&& part)>& take);
  Result<std::unordered_map<std::string, std::string>> finished();
  Status open_publisher();
  Status replay_one(const DlqEntry& entry, const DlqRepair& repair);
  Status finish(const DlqEntry& entry, std::string_view how);
  template <class F>
  Result<DlqReport> each(Dlq& dlq, const DlqFilter& filter, std::string_view how, F act);
};

Dlq::Dlq(Bus& bus, const Registry& registry, const Clock& clock, DlqOptions options)
    : impl_(new Impl{.bus = bus, .registry = registry, .clock = clock, .options = std::move(options)}) {}

Dlq::~Dlq() = default;

Status Dlq::Impl::read(const std::function<bool(Part&& part)>& take) {
  const std::string pattern = dead_letter_topic("utp." + options.realm + "." + options.region + ".>");
  // By the bus's own times: its clock may be another, or stand ahead of this one.
  Timestamp end;
  UTP_TRY(const auto topics, bus.stats(pattern));
  for (const TopicStats& topic : topics) end = std::max(end, topic.last_time);
  UTP_TRY(const auto subscription, bus.subscribe({.patterns = {pattern}, .group = {}, .member = {}, .start = {}}));
  Event event;
  Violation violation;
  for (;;) {
    UTP_TRY(const auto messages, subscription->poll(kPollMessages, kPollBytes, kPollWaitNs));
    if (messages.empty()) return {};
    bool new_ones = true;
    for (const InMessage& message : messages) {
      if (options.stop && options.stop()) return fail(Code::kCancelled, "interrupted");
      new_ones = new_ones && message.publish_time > end;
      if (!reader.read(message.value, event, violation) || event.envelope.event_type != "dlq/v1") continue;
      if (!take(read_part(event, message))) return {};
    }
    if (new_ones) return {};
  }
}

Result<std::unordered_map<std::string, std::string>> Dlq::Impl::finished() {
  std::unordered_map<std::string, std::string> out;
  std::uint64_t forgotten = 0;
  UTP_CHECK(read([&](Part&& part) {
    if (!is_tombstone(part)) return true;
    if (out.size() < options.letters_max || out.contains(part.tombstone_of)) out[part.tombstone_of] = part.entry.code;
    else ++forgotten;
    return true;
  }));
  if (forgotten > 0) {
    log::warn("too many finished dead letters to remember: the newest of them show as open; a shorter retention of the .dlq topics "
              "removes the old ones", {{"remembered", std::to_string(out.size())}, {"forgotten", std::to_string(forgotten)}});
  }
  return out;
}

Status Dlq::scan(const DlqFilter& filter, const std::function<bool(DlqEntry& entry)>& take) {
  UTP_TRY(const auto finished, impl_->finished());
  struct Assembly {
    DlqEntry entry;
    std::map<std::uint64_t, std::string> parts;
    std::uint64_t wanted = 1;
  };
  std::map<std::string, Assembly> open;
  std::size_t open_bytes = 0;
  std::unordered_map<std::string, bool> seen;
  std::uint64_t taken = 0;
  bool stopped = false;

  const auto emit = [&](DlqEntry& entry) {
    if (stopped || (seen.size() < impl_->options.letters_max && !seen.emplace(entry.id, true).second)) return;
    const auto done = finished.find(entry.id);
    if (done != finished.end()) entry.finished = done->second;
    if (!matches(filter, entry)) return;
    if (!take(entry) || (filter.limit > 0 && ++taken >= filter.limit)) stopped = true;
  };
  const auto close = [&](Assembly& assembly) {
    assembly.entry.original.clear();
    for (const auto& [number, bytes] : assembly.parts) assembly.entry.original += bytes;
    assembly.entry.complete = assembly.parts.size() == assembly.wanted &&
                              hash128(assembly.entry.original).to_hex() == assembly.entry.original_hash;
    emit(assembly.entry);
  };

  UTP_CHECK(impl_->read([&](Part&& part) {
    if (is_tombstone(part) || seen.contains(part.entry.id)) return true;
    if (part.parts == 1) {
      part.entry.complete = hash128(part.entry.original).to_hex() == part.entry.original_hash;
      emit(part.entry);
      return !stopped;
    }
    Assembly& assembly = open[part.entry.id];
    if (assembly.parts.empty()) {
      assembly.wanted = part.parts;
      assembly.entry = part.entry;
      assembly.entry.original.clear();
    }
    open_bytes += part.entry.original.size();
    assembly.parts.emplace(part.part, std::move(part.entry.original));
    if (assembly.parts.size() == assembly.wanted || open_bytes > impl_->options.assembly_bytes_max) {
      const auto largest = assembly.parts.size() == assembly.wanted ? open.find(part.entry.id) : open.begin();
      for (const auto& [number, bytes] : largest->second.parts) open_bytes -= bytes.size();
      close(largest->second);
      open.erase(largest);
    }
    return !stopped;
  }));
  for (auto& [id, assembly] : open) close(assembly);
  return {};
}

Result<std::vector<DlqEntry>> Dlq::list(const DlqFilter& filter) {
  std::vector<DlqEntry> out;
  UTP_CHECK(scan(filter, [&](DlqEntry& entry) {
    entry.original = std::string();
    out.push_back(std::move(entry));
    return true;
  }));
  return out;
}

Result<DlqEntry> Dlq::show(std::string_view id) {
  std::vector<DlqEntry> found;
  UTP_CHECK(scan({.id = std::string(id), .finished = true, .limit = 2}, [&](DlqEntry& entry) {
    found.push_back(std::move(entry));
    return true;
  }));
  if (found.empty()) return fail(Code::kNotFound, "no dead letter has the id " + std::string(id) + "; `utp dlq list` shows those that are there");
  if (found.size() > 1) {
    return fail(Code::kInvalidArgument, "several dead letters begin with " + std::string(id) + " (" + found[0].id + ", " + found[1].id +
                                            "): give more digits");
  }
  return std::move(found[0]);
}

Status Dlq::Impl::open_publisher() {
  if (publisher) return {};
  UTP_TRY(publisher, bus.publisher({.durability = Durability::kCommit}));
  UTP_TRY(tombstones, DeadLetterWriter::create(registry, clock,
                                               {.source_id = "dlq", .realm = options.realm, .region = options.region,
                                                .flood_per_minute = UINT32_MAX, .flood_keys_max = 1, .overflow = {}}));
  return {};
}

Status Dlq::Impl::finish(const DlqEntry& entry, std::string_view how) {
  DeadLetter letter;
  letter.stage = DeadLetterStage::kRead;
  letter.code = how;
  letter.message = how;
  letter.origin_topic = entry.dlq_topic;
  letter.connector = entry.connector;
  letter.event_type = entry.event_type;
  letter.repaired_from = entry.id;
  letter.symbol = entry.symbol;
  tombstones->clear();
  tombstones->add(letter);
  std::vector<OutMessage> messages;
  for (const DeadLetterMessage& m : tombstones->messages()) messages.push_back({m.topic, m.key, m.value});
  return publisher->publish(messages);
}

Status Dlq::Impl::replay_one(const DlqEntry& entry, const DlqRepair& repair) {
  if (!entry.complete) return fail(Code::kNotFound, "not all of its parts are on the bus any more");
  std::string bytes = entry.original;
  if (!repair.program.empty()) {
    UTP_TRY(bytes, filter_through(repair.program, bytes, repair.program_timeout_ms, repair.program_output_bytes_max, options.stop));
  }
  if (!repair.merge_patch.empty()) {
    UTP_TRY(bytes, json_merge_patch(bytes, repair.merge_patch));
  }
  if (entry.is_frame()) {
    if (!options.replay_frame) return fail(Code::kUnsupported, "a raw frame: its connector must map it again (`utp dlq replay` with the connector)");
    return options.replay_frame(entry, bytes);
  }
  if (entry.origin_topic.empty()) return fail(Code::kInvalidArgument, "the letter names no topic to send it to");
  if (bytes != entry.original) {
    UTP_TRY(bytes, reseal_envelope(bytes, registry));
  }
  Event event;
  Violation violation;
  if (!reader.read(bytes, event, violation)) {
    return fail(Code::kInvalidArgument, violation.code + " at \"" + violation.path + "\": " + violation.message);
  }
  if (const std::string topic = topic_name(event.envelope.realm, event.envelope.region, event.envelope.event_type); topic != entry.origin_topic) {
    return fail(Code::kInvalidArgument, "it would belong to topic " + topic + ", but came from " + entry.origin_topic +
                                            ": realm, region and event type must stay");
  }
  const OutMessage message{entry.origin_topic, event.envelope.symbol, bytes};
  return publisher->publish({&message, 1});
}

template <class F>
Result<DlqReport> Dlq::Impl::each(Dlq& dlq, const DlqFilter& filter, std::string_view how, F act) {
  UTP_CHECK(open_publisher());
  DlqReport report;
  Status broken;
  DlqFilter open = filter;
  open.finished = false;
  const Status scanned = dlq.scan(open, [&](DlqEntry& entry) {
    Status status = act(entry);
    if (status) status = finish(entry, how);
    if (!status && status.error().code == Code::kCancelled) {
      report.stopped = true;
      return false;
    }
    if (status) {
      ++(how == kDropped ? report.dropped : report.replayed);
    } else if (status.error().retryable) {
      broken = std::move(status);  // the bus is away: the rest would fail too
      return false;
    } else {
      report.left.push_back({entry.id, status.error().message});
    }
    return true;
  });
  report.stopped = report.stopped || (!scanned && scanned.error().code == Code::kCancelled);
  if (!scanned && !report.stopped) return fail(scanned.error());
  if (!broken) return fail(std::move(broken.error()));
  return report;
}

Result<DlqReport> Dlq::replay(const DlqFilter& filter, const DlqRepair& repair) {
  return impl_->each(*this, filter, kReplayed, [&](const DlqEntry& entry) { return impl_->replay_one(entry, repair); });
}

Result<DlqReport> Dlq::drop(const DlqFilter& filter) {
  return impl_->each(*this, filter, kDropped, [](const DlqEntry&) { return Status{}; });
}

Result<std::string> reseal_envelope(std::string_view json, const Registry& registry) {
  JsonTree tree;
  std::string error;
  if (!tree.parse(json, error)) return fail(Code::kInvalidArgument, "the repaired message is no JSON: " + error);
  const JsonValue& root = tree.root();
  const JsonValue* ref = root.kind == JsonKind::kObject ? tree.member(root, "schema_ref") : nullptr;
  const JsonValue* payload = root.kind == JsonKind::kObject ? tree.member(root, "payload") : nullptr;
  if (ref == nullptr || ref->kind != JsonKind::kString || payload == nullptr) {
    return fail(Code::kInvalidArgument, "the repaired message is no envelope: it lacks schema_ref or payload");
  }
  const auto plan = registry.by_ref(ref->text);
  if (!plan) return fail(Code::kNotFound, "schema_unknown: no schema " + std::string(ref->text) + "; add its file to the schema directories");
  std::string payload_text;
  tree.write(*payload, payload_text);
  Row row;
  Violation violation;
  if (!plan->read(payload_text, row, violation)) {
    return fail(Code::kInvalidArgument, violation.code + " at \"/payload" + violation.path + "\": " + violation.message);
  }
  std::string canonical;
  plan->write(row, canonical);

  std::string out = "{";
  const auto member = [&](std::string_view name, std::string_view value) {
    if (out.size() > 1) out += ',';
    append_json_string(out, name);
    out.append(":").append(value);
  };
  for (const JsonValue* m = tree.first(root); m != nullptr; m = tree.next(*m)) {
    if (m->key == "payload" || m->key == "checksum" || m->key == "payload_checksum" || m->key == "quality") continue;
    std::string value;
    tree.write(*m, value);
    member(m->key, value);
  }
  std::string checksum(16, '0');
  write_hex64(checksum.data(), hash64(canonical));
  member("checksum", "\"" + checksum + "\"");
  std::string quality;
  const JsonValue* old = tree.member(root, "quality");
  if (old != nullptr && old->kind == JsonKind::kArray) {
    for (const JsonValue* flag = tree.first(*old); flag != nullptr; flag = tree.next(*flag)) {
      if (flag->kind == JsonKind::kString && flag->text == to_string(Quality::kRepaired)) continue;
      quality += quality.empty() ? "[" : ",";
      tree.write(*flag, quality);
    }
  }
  quality += (quality.empty() ? "[\"" : ",\"") + std::string(to_string(Quality::kRepaired)) + "\"]";
  member("quality", quality);
  member("payload", canonical);
  return out + "}";
}

}  // namespace utp
