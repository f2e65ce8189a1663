#include "store/stored_events.h"

#include <algorithm>
#include <map>

#include "core/json_writer.h"
#include "model/envelope_rules.h"

namespace utp {
namespace {

constexpr std::size_t kNoColumn = SIZE_MAX;

std::size_t find_column(const Cursor& cursor, std::string_view name) {
  const auto columns = cursor.columns();
  const auto found = std::find_if(columns.begin(), columns.end(), [&](const QueryColumn& column) { return column.name == name; });
  return found == columns.end() ? kNoColumn : static_cast<std::size_t>(found - columns.begin());
}

// As the canonical serialization has it. An array comes as its JSON.
void append_value(const Value& value, ColumnType type, std::string& out) {
  switch (value.kind) {
    case Kind::kBool: out += value.as_bool() ? "true" : "false"; return;
    case Kind::kInteger: out += std::to_string(value.as_integer()); return;
    case Kind::kDecimal: {
      char text[Decimal::kTextMax];
      out.append(text, static_cast<std::size_t>(value.as_decimal().write(text) - text));
      return;
    }
    case Kind::kTime: {
      char text[Timestamp::kTextSize];
      out.append("\"").append(text, static_cast<std::size_t>(value.as_time().write(text) - text)).append("\"");
      return;
    }
    case Kind::kText:
      if (type == ColumnType::kArray)
        out += value.as_text();
      else
        append_json_string(out, value.as_text());
      return;
    default: out += "null";
  }
}

bool parse_qualities(std::string_view text, Quality& quality) {
  quality = Quality::kNone;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const auto flag = parse_quality(text.substr(0, comma));
    if (!flag) return false;
    quality = quality | *flag;
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return true;
}

// Columns of every table, by their place in the query's result.
struct Header {
  std::size_t event_time, key, symbol, source_id, schema_ref, event_time_source, ingest_time, sequence, checksum, quality, row_no;
};

}  // namespace

// The events of one type.
class StoredEvents::Type {
 public:
  static Result<std::unique_ptr<Type>> open(Store& store, const Registry& registry, const Query& query) {
    std::unique_ptr<Type> type(new Type(registry, query.event_type));
    UTP_TRY(type->cursor_, store.query(query));
    Header& h = type->header_;
    const std::pair<const char*, std::size_t*> names[] = {
        {"event_time", &h.event_time},   {"key", &h.key},
        {"symbol", &h.symbol},           {"source_id", &h.source_id},
        {"schema_ref", &h.schema_ref},   {"event_time_source", &h.event_time_source},
        {"ingest_time", &h.ingest_time}, {"sequence", &h.sequence},
        {"checksum", &h.checksum},       {"quality", &h.quality}};
    for (const auto& [name, place] : names) {
      *place = find_column(*type->cursor_, name);
      if (*place == kNoColumn)
        return fail(Code::kCorrupt,
                    "the table of " + query.event_type + " has no column \"" + name + "\", which every table has");
    }
    h.row_no = find_column(*type->cursor_, "row_no");
    return type;
  }

  const std::string& event_type() const { return event_type_; }
  const StoredEvent& event() const { return event_; }
  std::uint64_t rows() const { return event_rows_; }

  // Puts the next event together; false at the end.
  Result<bool> advance() {
    if (!row_ready_) {
      if (ended_) return false;
      UTP_TRY(const bool more, cursor_->next(values_));
      if (!more) return false;
    }
    row_ready_ = false;
    event_rows_ = 1;
    event_.refused.clear();
    read_header();
    if (plan_ == nullptr || !plan_->explode()) {
      if (header_.row_no != kNoColumn) UTP_CHECK(skip_rows());  // of an event that cannot be read
      if (plan_ != nullptr) build(values_);
    } else {
      UTP_CHECK(gather());
      build(kept_values_);
    }
    return true;
  }

 private:
  // How a schema version's columns lie in the rows.
  struct Version {
    std::shared_ptr<const Plan> plan;
    std::vector<std::size_t> columns;
    bool says_nulls = false;  // what its payloads do with a null, as far as the last one told
  };

  Type(const Registry& registry, std::string event_type) : registry_(registry), event_type_(std::move(event_type)) {}

  void refuse(const std::string& why) {
    if (event_.refused.empty())
      event_.refused = event_type_ + " of " + event_.envelope.event_time.to_string() + ", key " + key_ + ": " + why;
  }

  Version& version_of(std::string_view schema_ref) {
    const auto known = versions_.find(schema_ref);
    if (known != versions_.end()) return known->second;
    Version& version = versions_[std::string(schema_ref)];
    version.plan = registry_.by_ref(schema_ref);
    if (!version.plan) return version;
    for (const Column& column : version.plan->columns()) version.columns.push_back(find_column(*cursor_, column.name));
    return version;
  }

  void read_header() {
    const auto text = [&](std::size_t column, std::string& out) {
      out = values_[column].kind == Kind::kText ? values_[column].as_text() : std::string_view();
    };
    Envelope& e = event_.envelope;
    text(header_.key, key_);
    text(header_.symbol, symbol_);
    text(header_.source_id, source_id_);
    e = Envelope();
    e.event_type = event_type_;
    e.symbol = symbol_;
    e.source_id = source_id_;
    e.event_time = e.watermark = values_[header_.event_time].as_time();
    e.ingest_time = values_[header_.ingest_time].as_time();
    e.sequence = static_cast<std::uint64_t>(values_[header_.sequence].as_integer());
    event_.payload_checksum.reset();
    const std::string_view ref = values_[header_.schema_ref].as_text();
    version_ = &version_of(ref);
    plan_ = version_->plan.get();
    if (plan_ == nullptr) {
      refuse("its schema \"" + std::string(ref) +
             "\" is none that this program knows; add its file to the schema directories (--schemas)");
      return;
    }
    e.schema_ref = plan_->schema_ref();
    const auto source = parse_event_time_source(values_[header_.event_time_source].as_text());
    const Value& quality = values_[header_.quality];
    if (plan_->event_type() != event_type_ || plan_->explode().has_value() != (header_.row_no != kNoColumn))
      refuse("its schema " + plan_->schema_ref() + " is not one of this table");
    else if (!is_symbol(symbol_) || !is_source_id(source_id_))
      refuse("its symbol or source_id has characters that no event has");
    else if (!source || e.sequence > kSequenceMax || !parse_hex64(values_[header_.checksum].as_text(), e.checksum) ||
             (quality.kind == Kind::kText && !parse_qualities(quality.as_text(), e.quality))) {
      refuse("its event_time_source, sequence, checksum or quality is none");
    } else {
      e.event_time_source = *source;
      if (idempotency_key(e).to_hex() != key_)
        refuse("its key is not that of its fields: they were changed after they were stored");
    }
  }

  Result<bool> next_row_of_event() {
    UTP_TRY(const bool more, cursor_->next(values_));
    ended_ = !more;
    row_ready_ = more && values_[header_.key].as_text() != key_;
    if (!more || row_ready_) return false;
    ++event_rows_;
    return true;
  }

  Status skip_rows() {
    for (;;) {
      UTP_TRY(const bool more, next_row_of_event());
      if (!more) return {};
    }
  }

  // The rows of an exploded event: the first one's values, and every row's element.
  Status gather() {
    kept_.reset(*plan_);
    kept_values_ = values_;
    for (Value& value : kept_values_) {
      if (value.kind == Kind::kText) value = Value::of(kept_.keep(value.as_text()));
    }
    const std::size_t column = version_->columns[*plan_->explode()];
    elements_.clear();
    const auto append = [&] {
      if (!elements_.empty()) elements_ += ',';
      append_value(values_[column], cursor_->columns()[column].type, elements_);
    };
    if (column == kNoColumn) return skip_rows();
    const bool empty = !values_[column].present();
    if (!empty) append();
    for (;;) {
      UTP_TRY(const bool more, next_row_of_event());
      if (!more) return {};
      if (empty && event_rows_ == 2) elements_ = "null";
      append();
    }
  }

  // The payload with what is null left out where it may be, or said.
  void write_payload(const std::vector<Value>& values, bool say_nulls, std::string& out) {
    out = "{";
    had_choice_ = false;
    const auto columns = plan_->columns();
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const std::size_t at = version_->columns[i];
      const bool exploded = plan_->explode() == i;
      const bool present = exploded ? !elements_.empty() : at != kNoColumn && values[at].present();
      if (!present && !columns[i].required) {
        if (!exploded && !columns[i].nullable) continue;
        had_choice_ = true;
        if (!say_nulls) continue;
      }
      if (out.size() > 1) out += ',';
      append_json_string(out, columns[i].name);
      out += ':';
      if (exploded)
        out.append(present || !columns[i].nullable ? "[" + elements_ + "]" : "null");
      else
        append_value(present ? values[at] : Value::null(), present ? cursor_->columns()[at].type : ColumnType::kText, out);
    }
    out += '}';
  }

  // The payload, and whether it is the one that was published.
  void build(const std::vector<Value>& values) {
    if (!event_.refused.empty()) return;
    Envelope& e = event_.envelope;
    for (int tries = 0; tries < 2; ++tries) {
      write_payload(values, version_->says_nulls, payload_);
      e.payload = payload_;
      if (hash64(payload_) == e.checksum) return;
      if (!had_choice_) break;
      version_->says_nulls = !version_->says_nulls;
    }
    if (had_choice_) write_payload(values, false, payload_);
    Violation violation;
    if (!plan_->read(payload_, row_, violation)) {
      refuse("what is stored is no longer valid: " + violation.code + " at \"" + violation.path + "\": " + violation.message);
      return;
    }
    canonical_.clear();
    plan_->write(row_, canonical_);
    e.payload = canonical_;
    if (const std::uint64_t checksum = hash64(canonical_); checksum != e.checksum) event_.payload_checksum = checksum;
  }

  const Registry& registry_;
  const std::string event_type_;
  std::unique_ptr<Cursor> cursor_;
  Header header_{};
  std::map<std::string, Version, std::less<>> versions_;  // by schema_ref
  Version* version_ = nullptr;                            // of the event in hand
  const Plan* plan_ = nullptr;                            // its plan; null = not known

  StoredEvent event_;
  std::uint64_t event_rows_ = 0;
  std::string key_, symbol_, source_id_, payload_, canonical_;
  bool had_choice_ = false;
  std::vector<Value> values_;  // the row read last; the cursor's
  bool row_ready_ = false;     // it is the next event's
  bool ended_ = false;
  Row kept_;  // the texts of kept_values_
  std::vector<Value> kept_values_;
  std::string elements_;
  Row row_;
};

StoredEvents::~StoredEvents() = default;

Result<std::unique_ptr<StoredEvents>> StoredEvents::open(Store& store, const Registry& registry, const StoredRange& range) {
  std::vector<std::string> names = range.event_types;
  if (names.empty()) {
    UTP_TRY(StoreContents contents, store.contents());
    names = std::move(contents.event_types);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::unique_ptr<StoredEvents> events(new StoredEvents());
  for (const std::string& name : names) {
    Query query;
    query.event_type = name;
    query.symbols = range.symbols;
    query.sources = range.sources;
    query.from = range.from;
    query.to = range.to;
    UTP_TRY(auto type, Type::open(store, registry, query));
    events->types_.push_back(std::move(type));
  }
  // All at once, so that they see the same moment where a store's cursors share one.
  for (auto& type : events->types_) {
    UTP_TRY(const bool more, type->advance());
    if (!more) type.reset();
  }
  std::erase(events->types_, nullptr);
  return events;
}

Result<const StoredEvent*> StoredEvents::next() {
  if (given_ != nullptr) {
    UTP_TRY(const bool more, given_->advance());
    if (!more) std::erase_if(types_, [&](const auto& type) { return type.get() == given_; });
    given_ = nullptr;
  }
  for (const auto& type : types_) {
    if (given_ == nullptr || type->event().envelope.event_time < given_->event().envelope.event_time) given_ = type.get();
  }
  if (given_ == nullptr) return static_cast<const StoredEvent*>(nullptr);
  rows_ += given_->rows();
  return &given_->event();
}

}  // namespace utp
