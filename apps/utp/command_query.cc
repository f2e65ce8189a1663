#include <unistd.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "core/hash.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

constexpr std::string_view kDeadLetterType = "dlq/v1";
constexpr std::size_t kTableSampleRows = 200;  // column widths of a table are taken from so many rows

struct QueryOptions {
  PlaceOptions place;
  std::string event_type, from, to, as_of, format, output;
  std::vector<std::string> symbols, sources;
  std::uint64_t limit = 0;
  bool newest = false, last = false;
};

void append_csv_text(std::string& out, std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    out += text;
    return;
  }
  out += '"';
  for (const char c : text) {
    if (c == '"') out += c;
    out += c;
  }
  out += '"';
}

// `csv`: texts are quoted where they have to be; nothing else has a comma or a quote.
void append_plain(std::string& out, const QueryColumn& column, const Value& value, bool csv) {
  char text[std::max(Decimal::kTextMax, Timestamp::kTextSize)];
  switch (value.kind) {
    case Kind::kAbsent:
    case Kind::kNull: return;
    case Kind::kBool: out += value.as_bool() ? "true" : "false"; return;
    case Kind::kInteger: out.append(text, std::to_chars(text, text + sizeof text, value.as_integer()).ptr); return;
    case Kind::kDecimal: out.append(text, value.as_decimal().write(text)); return;
    case Kind::kTime: out.append(text, value.as_time().write(text)); return;
    case Kind::kText: csv ? append_csv_text(out, value.as_text()) : void(out += value.as_text()); return;
    case Kind::kArray: break;
  }
  out += fmt::format("<{}>", column.name);
}

void append_json(const QueryColumn& column, const Value& value, JsonWriter& json) {
  json.key(column.name);
  switch (value.kind) {
    case Kind::kBool: json.value(value.as_bool()); break;
    case Kind::kInteger: json.value(value.as_integer()); break;
    case Kind::kDecimal: json.value(value.as_decimal()); break;
    case Kind::kTime: json.value(value.as_time()); break;
    case Kind::kText:
      if (column.type == ColumnType::kArray) json.raw(value.as_text());
      else json.value(value.as_text());
      break;
    default: json.null();
  }
}

// Writes rows in one of the formats; memory does not grow with their number.
class RowWriter {
 public:
  RowWriter(Output& out, std::string format, std::span<const QueryColumn> columns, bool color)
      : out_(out), format_(std::move(format)), columns_(columns.begin(), columns.end()), color_(color) {}

  Status begin() {
    if (format_ == "csv") {
      for (std::size_t c = 0; c < columns_.size(); ++c) {
        if (c > 0) line_ += ',';
        append_csv_text(line_, columns_[c].name);
      }
      return out_.write(line_ + "\n");
    }
    return format_ == "json" ? out_.write("[") : Status{};
  }

  Status row(std::span<const Value> values) {
    line_.clear();
    if (format_ == "table") return table_row(values);
    if (format_ == "csv") {
      for (std::size_t c = 0; c < columns_.size(); ++c) {
        if (c > 0) line_ += ',';
        append_plain(line_, columns_[c], values[c], true);
      }
    } else {
      if (format_ == "json") line_ = rows_ == 0 ? "\n" : ",\n";
      JsonWriter json(line_);
      json.begin_object();
      for (std::size_t c = 0; c < columns_.size(); ++c) append_json(columns_[c], values[c], json);
      json.end_object();
    }
    if (format_ != "json") line_ += '\n';
    ++rows_;
    return out_.write(line_);
  }

  Status end() {
    if (format_ == "json") return out_.write(rows_ == 0 ? "]\n" : "\n]\n");
    return format_ == "table" ? flush_sample() : Status{};
  }
  std::uint64_t rows() const { return rows_; }

 private:
  Status table_row(std::span<const Value> values) {
    ++rows_;
    std::vector<std::string> cells;
    for (std::size_t c = 0; c < columns_.size(); ++c) append_plain(cells.emplace_back(), columns_[c], values[c], false);
    if (!widths_.empty()) return print(cells);
    sample_.push_back(std::move(cells));
    return sample_.size() < kTableSampleRows ? Status{} : flush_sample();
  }

  Status flush_sample() {
    if (!widths_.empty()) return {};
    std::vector<std::string> header;
    for (const QueryColumn& c : columns_) {
      header.push_back(c.name);
      widths_.push_back(display_width(c.name));
    }
    for (const auto& cells : sample_) {
      for (std::size_t c = 0; c < cells.size(); ++c) widths_[c] = std::max(widths_[c], std::min<std::size_t>(display_width(cells[c]), 48));
    }
    heading_ = true;
    UTP_CHECK(print(header));
    heading_ = false;
    for (const auto& cells : sample_) UTP_CHECK(print(cells));
    sample_.clear();
    return {};
  }

  Status print(const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string cell = clipped(cells[c], widths_[c]);
      const std::string pad(widths_[c] - display_width(cell), ' ');
      const ColumnType type = columns_[c].type;
      if (c > 0) line += "  ";
      line += type == ColumnType::kInteger || type == ColumnType::kDecimal ? pad + cell : cell + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return out_.write((heading_ ? styled(line, Style::kBold, color_) : line) + "\n");
  }

  Output& out_;
  std::string format_;
  std::vector<QueryColumn> columns_;
  bool color_;
  bool heading_ = false;
  std::uint64_t rows_ = 0;
  std::string line_;
  std::vector<std::vector<std::string>> sample_;
  std::vector<std::size_t> widths_;
};

struct Source {
  Place place;
  std::shared_ptr<const Plan> plan;
};

// What the configuration and the command line say, before the store is opened.
Result<Source> find_source(const QueryOptions& options) {
  Source source;
  UTP_TRY(source.place, locate(options.place, kUsesStore));
  UTP_TRY(const Registry registry, load_registry(source.place.schema_dirs));
  // The aggregates of a store on a server have plain names; it says which it has.
  const bool may_be_aggregate = options.event_type.find('/') == std::string::npos && local_path(source.place.store).empty();
  auto plan = find_event_type(registry, options.event_type);
  if (!plan && may_be_aggregate) return source;
  if (!plan) return fail(std::move(plan.error()));
  source.plan = *std::move(plan);
  if (source.plan->table().empty()) {
    return fail(Code::kInvalidArgument,
                fmt::format("events of type {} are not stored (their schema names no table); see them with: {}", options.event_type,
                            options.event_type == kDeadLetterType ? std::string("utp dlq list") : fmt::format("utp tail {} --from earliest", options.event_type)));
  }
  return source;
}

Result<std::uint64_t> print_rows(const QueryOptions& options, const Place& place, Context& context) {
  Query query;
  if (!options.from.empty()) query.from = Timestamp::parse_lenient(options.from);
  if (!options.to.empty()) query.to = Timestamp::parse_lenient(options.to);
  if (!options.as_of.empty()) query.as_of = Timestamp::parse_lenient(options.as_of);
  if (options.last) query.as_of = kEndOfTime;
  query.event_type = options.event_type;
  query.symbols = options.symbols;
  query.sources = options.sources;
  query.limit = options.limit;
  query.newest_first = options.newest;
  UTP_TRY(auto store, open_store(place.store, false));
  UTP_TRY(auto cursor, store->query(query));
  UTP_TRY(Output out, Output::open(options.output));
  RowWriter writer(out, options.format, cursor->columns(), options.output.empty() && colored(STDOUT_FILENO));
  Progress progress("query", !options.output.empty());
  UTP_CHECK(writer.begin());
  std::vector<Value> values;
  for (;;) {
    UTP_TRY(const bool more, cursor->next(values));
    if (!more) break;
    UTP_CHECK(writer.row(values));
    if (writer.rows() % 4096 == 0) {
      if (context.stop->pending()) return fail(Code::kCancelled, "interrupted; the output is not complete");
      progress.update(writer.rows(), options.limit, fmt::format("{} rows", human_count(writer.rows())));
    }
  }
  UTP_CHECK(writer.end());
  UTP_CHECK(out.close());
  return writer.rows();
}

int query_command(QueryOptions& options, Context& context) {
  if (options.format.empty()) options.format = context.common.json ? "json" : is_terminal(STDOUT_FILENO) ? "table" : "csv";
  const auto source = find_source(options);
  if (!source) return report_configuration(source.error());
  const auto rows = print_rows(options, source->place, context);
  if (!rows) {
    // `utp query ... | head` is no failure.
    if (rows.error().code == Code::kCancelled && !context.stop->pending()) return kOk;
    return report(rows.error());
  }
  if (*rows == 0 && !context.common.json) print_note(fmt::format("no stored event of {} matches", options.event_type));
  if (!options.output.empty()) print_note(fmt::format("{} rows in {}", human_count(*rows), options.output));
  return kOk;
}

void check_options(const QueryOptions& options) {
  const auto time = [](const std::string& text) { return *Timestamp::parse_lenient(text); };
  const auto refuse = [](const char* option, const char* why) { throw CLI::ValidationError(option, why); };
  if (!options.from.empty() && !options.to.empty() && time(options.from) >= time(options.to)) {
    refuse("--to", "is not after --from: nothing can lie between them");
  }
  if (!options.from.empty() && !options.as_of.empty() && time(options.from) > time(options.as_of)) {
    refuse("--as-of", "is before --from: nothing can lie between them");
  }
  if (options.last && !options.as_of.empty()) refuse("--as-of", "goes without --last: either the last events of all, or the last at a time");
  if (!options.last && options.as_of.empty()) return;
  const char* option = options.last ? "--last" : "--as-of";
  if (!options.to.empty()) refuse(option, "goes without --to: for the last event before a time give --as-of alone; --from says how far back to look");
  if (options.newest) refuse(option, "goes without --newest: each symbol has one event, and they come in the order of the symbols");
}

}  // namespace

void add_query(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "query", "Stored events of one type",
                                  "  utp query trades/v2 --symbol BTC-USD --newest --limit 20\n"
                                  "  utp query quotes/v2 --store sqlite:store.db --from 2026-11-22 --to 2026-11-23 --format csv --output quotes.csv\n"
                                  "  utp query quotes/v2 --last\n"
                                  "  utp query quotes/v2 --as-of 2026-11-22T16:00:00 --symbol BTC-USD --symbol ETH-USD\n"
                                  "  utp query trade_bars_1m --store postgres://reader@host/market --symbol BTC-USD --from 2026-11-22\n"
                                  "  utp query orderbook/v1 --format jsonl | jq .bids");
  auto options = std::make_shared<QueryOptions>();
  command->add_option("EVENT_TYPE", options->event_type, "Such as trades/v2, or an aggregate of a PostgreSQL store, such as trade_bars_1m")->required();
  command->add_option("--symbol", options->symbols, "Only this symbol (repeatable)")->allow_extra_args(false);
  command->add_option("--source", options->sources, "Only this source_id (repeatable)")->allow_extra_args(false);
  command->add_option("--from", options->from, "Event time, inclusive")->check(check_time);
  command->add_option("--to", options->to, "Event time, exclusive")->check(check_time);
  command->add_option("--limit", options->limit, "At most so many rows")->check(CLI::PositiveNumber);
  command->add_flag("--newest", options->newest, "Newest first");
  command->add_flag("--last", options->last, "The last event of each symbol; --from says how far back to look");
  command->add_option("--as-of", options->as_of, "The last event of each symbol at this time, inclusive")->check(check_time);
  command->add_option("--format", options->format, "Default: table on a terminal, csv else; json is one array, jsonl an object a line")
      ->check(CLI::IsMember({"csv", "json", "jsonl", "table"}));
  command->add_option("-o,--output", options->output, "File instead of standard output; complete or not there");
  add_place_options(*command, options->place, kUsesStore | kUsesSchemas);
  command->callback([&context, options] {
    check_options(*options);
    context.action = [&context, options] { return query_command(*options, context); };
  });
}

}  // namespace utp::app
