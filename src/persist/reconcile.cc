#include "persist/reconcile.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "bus/read_topic.h"
#include "core/hash.h"
#include "model/envelope.h"
#include "normalize/normalizer.h"
#include "persist/dlq.h"

namespace utp {
namespace {

constexpr std::int64_t kHourNs = 3'600'000'000'000;
constexpr std::size_t kExamples = 5;
constexpr std::uint64_t kLookEvery = 5000;  // events between two looks at give_up and the progress
constexpr std::string_view kRow = "row_no";

std::int64_t hour_of(Timestamp time) {
  const std::int64_t rest = time.ns % kHourNs;
  return time.ns - (rest < 0 ? rest + kHourNs : rest);
}

struct Seen {
  Hash128 key;
  std::uint32_t place = 0;  // in Reconciler::hours_
  bool waiting = false, stored = false, dead = false;
};

// What is wanted of a row.
struct StoredRow {
  Hash128 key;
  std::string_view symbol;
  Timestamp event_time;
  bool first = true;    // of the rows of its event
  bool counts = true;   // in the aggregate
};

// Over all topics: a group that none has is a mistake.
struct Groups {
  std::uint64_t topics = 0, joined = 0;  // with messages; that have the group
  std::set<std::string> others;
};

class Reconciler {
 public:
  Reconciler(Bus& bus, Store& store, const Registry& registry, const Clock& clock, const ReconcileOptions& options, Groups& groups)
      : bus_(bus), store_(store), registry_(registry), clock_(clock), options_(options), groups_(groups) {}

  Result<ReconciledType> run(const std::string& event_type, const std::string& realm, const StoreStatus& status) {
    ReconciledType result;
    result.event_type = event_type;
    if (options_.from) from_ = {hour_of(*options_.from)};
    if (options_.to) to_ = {hour_of({options_.to->ns - 1}) + kHourNs};
    UTP_CHECK(read_bus(realm, result));
    if (!options_.from) from_ = {first_hour_};
    if (!options_.to) to_ = {last_hour_ + kHourNs};
    if (from_ < to_) {
      find_aggregate(status, result);
      UTP_CHECK(read_store(event_type));
      UTP_CHECK(read_dead_letters(event_type));
      if (!result.aggregate.empty()) UTP_CHECK(read_aggregate(result.aggregate));
      for (const Seen& seen : seen_) judge(seen, result);
      if (!result.aggregate.empty()) UTP_CHECK(look_again(event_type));
    }
    for (auto& hour : hours_) result.hours.push_back(std::move(hour));
    std::sort(result.hours.begin(), result.hours.end(), [](const ReconciledHour& a, const ReconciledHour& b) {
      return a.hour != b.hour ? a.hour < b.hour : a.symbol < b.symbol;
    });
    return result;
  }

 private:
  std::uint32_t place_of(std::string_view symbol, Timestamp time) {
    const std::int64_t hour = hour_of(time);
    place_key_.assign(symbol);
    place_key_ += '\0';
    place_key_ += std::to_string(hour);
    const auto [found, fresh] = places_.try_emplace(place_key_, static_cast<std::uint32_t>(hours_.size()));
    if (fresh) {
      hours_.emplace_back().symbol = symbol;
      hours_.back().hour = {hour};
      if (has_aggregate_ && hour >= aggregated_from_) hours_.back().aggregated = 0;
    }
    return found->second;
  }
  bool in_range(Timestamp time) const {
    return (!options_.from || from_ <= time) && (!options_.to || time < to_);
  }
  bool wanted(std::string_view symbol) const {
    return options_.symbols.empty() || std::find(options_.symbols.begin(), options_.symbols.end(), symbol) != options_.symbols.end();
  }
  Status look(const std::string& what, std::uint64_t count) const {
    if (count % kLookEvery != 0) return {};
    if (options_.give_up && options_.give_up()) return fail(Code::kCancelled, "interrupted");
    if (options_.progress) options_.progress(what, count);
    return {};
  }

  Status read_bus(const std::string& realm, ReconciledType& result) {
    EventReader reader(registry_);
    Event event;
    Violation violation;
    UTP_TRY(const auto topics, bus_.stats(topic_name(realm, "*", result.event_type)));
    for (const TopicStats& topic : topics) {
      const std::size_t first = seen_.size();
      std::vector<Timestamp> published;  // as seen_ from `first`
      bool full = false;
      std::uint64_t count = 0;
      UTP_TRY(const std::uint64_t unread, read_topic(bus_, topic.topic, {}, options_.give_up, [&](const InMessage& message) {
        if (++count % kLookEvery == 0 && options_.progress) options_.progress("topic " + topic.topic, count);
        if (!wanted(message.key)) return;
        if (!reader.read(message.value, event, violation)) {
          ++result.unreadable;
          return;
        }
        const Timestamp time = event.envelope.event_time;
        if (!in_range(time)) return;
        full = full || seen_.size() >= options_.events_max;
        if (full) return;
        const std::uint32_t place = place_of(event.envelope.symbol, time);
        ++hours_[place].messages;
        first_hour_ = std::min(first_hour_, hour_of(time));
        last_hour_ = std::max(last_hour_, hour_of(time));
        seen_.push_back({event.key(), place});
        published.push_back(message.publish_time);
      }));
      result.unread += unread;
      if (full) {
        return fail(Code::kFull, "reconcile " + result.event_type + ": more than " + std::to_string(options_.events_max) +
                                     " events, the most that are compared at once; name a shorter time (--from, --to), symbols, or a higher limit");
      }
      // What the group had not acknowledged after the topic was read need not be in the store when that is read.
      UTP_TRY(const auto now, bus_.stats(topic.topic));
      Timestamp acknowledged_until;  // publish time from which on nothing need be stored; 0 = nothing is
      bool joined = false;
      std::set<std::string>& others = groups_.others;
      for (const TopicStats& each : now) {
        for (const GroupStats& group : each.groups) {
          if (group.group != options_.group) {
            others.insert(group.group);
            continue;
          }
          joined = true;
          acknowledged_until = group.lag > 0 ? group.oldest_unread : Timestamp{INT64_MAX};
        }
      }
      groups_.topics += topic.messages > 0 ? 1 : 0;
      groups_.joined += joined ? 1 : 0;
      for (std::size_t i = first; i < seen_.size(); ++i) seen_[i].waiting = !joined || published[i - first] >= acknowledged_until;
    }
    // Of an event that was sent several times the first is enough.
    std::sort(seen_.begin(), seen_.end(), [](const Seen& a, const Seen& b) { return a.key != b.key ? a.key < b.key : a.waiting < b.waiting; });
    seen_.erase(std::unique(seen_.begin(), seen_.end(), [](const Seen& a, const Seen& b) { return a.key == b.key; }), seen_.end());
    for (const Seen& seen : seen_) ++hours_[seen.place].on_bus;
    return {};
  }

  Seen* find(const Hash128& key) {
    const auto found = std::lower_bound(seen_.begin(), seen_.end(), key, [](const Seen& seen, const Hash128& k) { return seen.key < k; });
    return found != seen_.end() && found->key == key ? &*found : nullptr;
  }

  // The aggregate of whole hours.
  void find_aggregate(const StoreStatus& status, ReconciledType& result) {
    for (const TableStatus& table : status.tables) {
      if (table.event_type != result.event_type) continue;
      // Rows that retention has taken are in the aggregates still.
      if (table.retention_ns > 0) aggregated_from_ = hour_of({clock_.now().ns - table.retention_ns}) + kHourNs;
      for (const AggregateStatus& aggregate : status.aggregates) {
        if (aggregate.table != table.table || aggregate.bucket_ns != kHourNs || aggregate.counter.empty()) continue;
        has_aggregate_ = true;
        result.aggregate = aggregate.name;
        counter_ = aggregate.counter;
        counted_ = aggregate.counted;
      }
    }
    for (ReconciledHour& hour : hours_) {
      if (has_aggregate_ && hour.hour.ns >= aggregated_from_) hour.aggregated = 0;
    }
  }

  template <class Take>
  Status for_each_row(const Query& query, Take take) {
    auto cursor = store_.query(query);
    if (!cursor && cursor.error().code == Code::kNotFound) return {};  // no table yet: nothing is stored
    if (!cursor) return fail(std::move(cursor.error()));
    const auto columns = (*cursor)->columns();
    std::optional<std::size_t> key, symbol, time, row;
    std::vector<std::size_t> counted;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::string& name = columns[i].name;
      if (name == "key") key = i;
      if (name == "symbol") symbol = i;
      if (name == "event_time") time = i;
      if (name == kRow) row = i;
      if (std::find(counted_.begin(), counted_.end(), name) != counted_.end()) counted.push_back(i);
    }
    if (!key || !symbol || !time) return fail(Code::kInternal, "reconcile: the rows of " + query.event_type + " have no key, symbol or event_time");
    std::vector<Value> values;
    for (std::uint64_t count = 1;; ++count) {
      UTP_TRY(const bool more, (*cursor)->next(values));
      if (!more) return {};
      UTP_CHECK(look("stored " + query.event_type, count));
      StoredRow stored;
      const std::string_view hex = values[*key].as_text();
      if (hex.size() != 32 || !parse_hex64(hex.substr(0, 16), stored.key.high) || !parse_hex64(hex.substr(16), stored.key.low)) {
        return fail(Code::kCorrupt, "store: a row of " + query.event_type + " has no key of 32 digits");
      }
      stored.symbol = values[*symbol].as_text();
      stored.event_time = values[*time].as_time();
      stored.first = !row || values[*row].as_integer() == 0;
      stored.counts = std::none_of(counted.begin(), counted.end(), [&](std::size_t i) { return values[i].kind == Kind::kNull || values[i].kind == Kind::kAbsent; });
      take(stored);
    }
  }

  Query range_of(const std::string& name) const {
    Query query;
    query.event_type = name;
    query.symbols = options_.symbols;
    query.from = from_;
    query.to = to_;
    return query;
  }

  Status read_store(const std::string& event_type) {
    return for_each_row(range_of(event_type), [&](const StoredRow& row) {
      ReconciledHour& hour = hours_[place_of(row.symbol, row.event_time)];
      hour.to_aggregate += row.counts ? 1 : 0;
      if (!row.first) return;
      ++hour.stored;
      if (Seen* seen = find(row.key)) seen->stored = true;
      else ++hour.only_stored;
    });
  }

  // Letters whose bytes are an event that was looked for.
  Status read_dead_letters(const std::string& event_type) {
    if (std::all_of(seen_.begin(), seen_.end(), [](const Seen& seen) { return seen.stored; })) return {};
    Dlq dlq(bus_, registry_, clock_, {.stop = options_.give_up});
    EventReader reader(registry_);
    Event event;
    Violation violation;
    DlqFilter filter;
    filter.event_type = event_type;
    filter.finished = true;
    return dlq.scan(filter, [&](DlqEntry& entry) {
      if (entry.is_frame() || !entry.complete || !reader.read(entry.original, event, violation)) return true;
      if (Seen* seen = find(event.key())) seen->dead = true;
      return true;
    });
  }

  Status read_aggregate(const std::string& name) {
    UTP_TRY(const auto cursor, store_.query(range_of(name)));
    const auto columns = cursor->columns();
    std::size_t bucket = 0, symbol = 0, counter = 0;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (columns[i].name == "bucket") bucket = i;
      if (columns[i].name == "symbol") symbol = i;
      if (columns[i].name == counter_) counter = i;
    }
    std::vector<Value> values;
    for (;;) {
      UTP_TRY(const bool more, cursor->next(values));
      if (!more) return {};
      ReconciledHour& hour = hours_[place_of(values[symbol].as_text(), values[bucket].as_time())];
      if (hour.aggregated) *hour.aggregated += static_cast<std::uint64_t>(values[counter].as_integer());
    }
  }

  void judge(const Seen& seen, ReconciledType& result) {
    ReconciledHour& hour = hours_[seen.place];
    if (seen.stored) return;
    if (seen.dead) {
      ++hour.dead_letters;
    } else if (seen.waiting) {
      ++hour.waiting;
    } else {
      ++hour.missing;
      if (result.missing_examples.size() < kExamples) result.missing_examples.push_back(seen.key.to_hex());
    }
  }

  // An hour that is written to has more rows in its aggregate, which was read later. Now its rows once more: had it between as many
  // as before and as now, all is well.
  Status look_again(const std::string& event_type) {
    std::vector<std::size_t> odd;
    for (std::size_t i = 0; i < hours_.size(); ++i) {
      if (hours_[i].aggregated && *hours_[i].aggregated > hours_[i].to_aggregate) odd.push_back(i);
    }
    for (const std::size_t i : odd) {
      ReconciledHour& hour = hours_[i];
      Query query;
      query.event_type = event_type;
      query.symbols = {hour.symbol};
      query.from = hour.hour;
      query.to = Timestamp{hour.hour.ns + kHourNs};
      std::uint64_t now = 0;
      UTP_CHECK(for_each_row(query, [&](const StoredRow& row) { now += row.counts ? 1 : 0; }));
      if (*hour.aggregated <= now) hour.to_aggregate = *hour.aggregated;
    }
    if (std::none_of(hours_.begin(), hours_.end(), [](const ReconciledHour& hour) { return hour.aggregated && *hour.aggregated < hour.to_aggregate; })) return {};
    UTP_TRY(const StoreStatus status, store_.status());
    for (ReconciledHour& hour : hours_) hour.to_refresh = status.ranges_to_refresh > 0;
    return {};
  }

  Bus& bus_;
  Store& store_;
  const Registry& registry_;
  const Clock& clock_;
  const ReconcileOptions& options_;
  Groups& groups_;
  Timestamp from_, to_;
  std::int64_t first_hour_ = INT64_MAX / 2, last_hour_ = INT64_MIN / 2;
  std::vector<Seen> seen_;
  std::vector<ReconciledHour> hours_;
  std::unordered_map<std::string, std::uint32_t> places_;
  std::string place_key_;
  bool has_aggregate_ = false;
  std::int64_t aggregated_from_ = INT64_MIN;
  std::string counter_;
  std::vector<std::string> counted_;
};

}  // namespace

Result<std::vector<ReconciledType>> reconcile(Bus& bus, Store& store, const Registry& registry, const Clock& clock, const ReconcileOptions& options) {
  UTP_TRY(const StoreStatus status, store.status());
  const std::string realm = options.realm.empty() ? status.realm : options.realm;
  if (realm.empty()) return fail(Code::kNotFound, "reconcile: nothing was stored yet, so the realm of the topics is not known; name it with --realm");
  std::vector<std::string> event_types = options.event_types;
  for (const std::string& name : event_types) {
    const auto plan = registry.by_event_type(name);
    if (!plan) return fail(Code::kNotFound, "reconcile: no schema of event type \"" + name + "\" is known; `utp schema show` lists them");
    if (plan->table().empty()) return fail(Code::kInvalidArgument, "reconcile: events of " + name + " are not stored: its schema names no table");
  }
  if (event_types.empty()) {
    for (const auto& plan : registry.all()) {
      if (!plan->table().empty()) event_types.push_back(plan->event_type());
    }
    std::sort(event_types.begin(), event_types.end());
    event_types.erase(std::unique(event_types.begin(), event_types.end()), event_types.end());
  }
  std::vector<ReconciledType> out;
  Groups groups;
  for (const std::string& event_type : event_types) {
    UTP_TRY(auto one, Reconciler(bus, store, registry, clock, options, groups).run(event_type, realm, status));
    if (!one.hours.empty() || one.unreadable > 0 || one.unread > 0 || !options.event_types.empty()) out.push_back(std::move(one));
  }
  if (groups.topics > 0 && groups.joined == 0) {
    std::string names;
    for (const std::string& name : groups.others) names += (names.empty() ? "" : ", ") + name;
    return fail(Code::kNotFound, "reconcile: no topic has a group \"" + options.group + "\", so what has to be stored is not known; there " +
                                     (names.empty() ? "are none: no persister has read this bus" : "are: " + names + ". Name the persister's (--group)"));
  }
  return out;
}

}  // namespace utp
