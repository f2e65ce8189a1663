// Events through plans: bytes to validated typed rows and back, against a simdjson on-demand walk over the same bytes
// (which validates nothing) and RapidJSON's SchemaValidator (envelope and payload schema in one). Single thread; every figure is the
// median of rounds in which ours and theirs take turns. One JSON object a line.
//
//   schema_bench [--json] [--filter REGEX] [--quick]     (its lines are JSON in any case)
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include <rapidjson/document.h>
#include <rapidjson/encodedstream.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>
#include <rapidjson/schema.h>
#include <simdjson.h>

#include "core/embedded_file.h"
#include "core/json_writer.h"
#include "normalize/normalizer.h"
#include "schema/json.h"
#include "schema/random_rows.h"
#include "schema/registry.h"

namespace {

using namespace utp;
namespace ondemand = simdjson::ondemand;

constexpr std::size_t kEvents = 1'000;
constexpr Timestamp kNoon{1'795'348'800'000'000'000};

struct Sample {
  std::string_view text;  // an envelope, within Samples::bytes
  std::shared_ptr<const Plan> plan;
};

// Envelopes back to back, as a batch comes from a bus; both sides read these same bytes. simdjson's padding is the next
// envelope, and zeros behind the last.
struct Samples {
  Samples() = default;
  Samples(Samples&&) = default;
  Samples& operator=(Samples&&) = default;

  static Samples of(const std::vector<std::pair<std::string, std::shared_ptr<const Plan>>>& texts) {
    Samples samples;
    std::size_t size = simdjson::SIMDJSON_PADDING;
    for (const auto& [text, plan] : texts) size += text.size();
    samples.bytes = std::make_unique<char[]>(size);
    std::size_t at = 0;
    for (const auto& [text, plan] : texts) {
      std::memcpy(samples.bytes.get() + at, text.data(), text.size());
      samples.list.push_back({{samples.bytes.get() + at, text.size()}, plan});
      at += text.size();
    }
    return samples;
  }
  auto begin() const { return list.begin(); }
  auto end() const { return list.end(); }
  std::size_t size() const { return list.size(); }

  std::unique_ptr<char[]> bytes;
  std::vector<Sample> list;
};

struct Options {
  std::regex filter{".*"};
  bool quick = false;
};

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "schema_bench: %s\n", why.c_str());
  std::exit(1);
}

std::string envelope_schema() {
  for (const auto& file : embedded::schemas()) {
    if (file.path.ends_with("schemas/envelope/1.0.0.json")) return std::string(file.content);
  }
  stop("no envelope schema is built in");
}

// ---- theirs ----

struct Walk {
  double numbers = 0;
  std::size_t bytes = 0;
};

simdjson::error_code walk_value(ondemand::value value, Walk& walk) {
  ondemand::json_type type;
  if (const auto error = value.type().get(type)) return error;
  switch (type) {
    case ondemand::json_type::object: {
      ondemand::object object;
      if (const auto error = value.get_object().get(object)) return error;
      for (auto field : object) {
        std::string_view key;
        ondemand::value member;
        if (const auto error = field.unescaped_key().get(key)) return error;
        if (const auto error = field.value().get(member)) return error;
        walk.bytes += key.size();
        if (const auto error = walk_value(member, walk)) return error;
      }
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::array: {
      ondemand::array array;
      if (const auto error = value.get_array().get(array)) return error;
      for (auto item : array) {
        ondemand::value element;
        if (const auto error = item.get(element)) return error;
        if (const auto error = walk_value(element, walk)) return error;
      }
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::number: {
      double number = 0;
      if (const auto error = value.get_double().get(number)) return error;
      walk.numbers += number;
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::string: {
      std::string_view text;
      if (const auto error = value.get_string().get(text)) return error;
      walk.bytes += text.size();
      return simdjson::SUCCESS;
    }
    case ondemand::json_type::boolean: {
      bool flag = false;
      if (const auto error = value.get_bool().get(flag)) return error;
      walk.bytes += flag ? 1 : 0;
      return simdjson::SUCCESS;
    }
    default: walk.bytes += 1; return simdjson::SUCCESS;
  }
}

bool walk_document(ondemand::parser& parser, std::string_view json, Walk& walk) {
  ondemand::document document;
  ondemand::value root;
  return !parser.iterate(json.data(), json.size(), json.size() + simdjson::SIMDJSON_PADDING).get(document) && !document.get_value().get(root) && !walk_value(root, walk);
}

// The envelope's schema with the payload's in its place. RapidJSON reads 2020-12 schemas of our kind as draft 4; it does
// not know their formats.
class RapidSchemas {
 public:
  const rapidjson::SchemaDocument& of(const Plan& plan) {
    auto& slot = schemas_[plan.schema_ref()];
    if (!slot) {
      rapidjson::Document document;
      document.Parse(envelope_schema().c_str());
      rapidjson::Document payload(&document.GetAllocator());
      payload.Parse(plan.schema().text().c_str());
      if (document.HasParseError() || payload.HasParseError()) stop("RapidJSON cannot parse the schemas");
      document["properties"]["payload"] = payload.Move();
      slot = std::make_unique<rapidjson::SchemaDocument>(document);
    }
    return *slot;
  }

 private:
  std::map<std::string, std::unique_ptr<rapidjson::SchemaDocument>> schemas_;
};

// ---- measuring ----

// Time of this thread alone: what else runs on the machine costs no time here (its caches it does cost).
double seconds_of(const std::function<void()>& run) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  run();
  return now() - start;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Pair {
  double ours = 0;
  double theirs = 0;
};

// Nanoseconds per event. A round is several passes of one side, so that what it needs is in the caches for most of them.
Pair measure(const Options& options, const std::function<void()>& ours, const std::function<void()>& theirs) {
  const int rounds = options.quick ? 9 : 61;
  constexpr int kPasses = 10;
  std::vector<double> a;
  std::vector<double> b;
  ours();
  theirs();
  for (int round = 0; round < rounds; ++round) {
    a.push_back(seconds_of([&] { for (int i = 0; i < kPasses; ++i) ours(); }));
    b.push_back(seconds_of([&] { for (int i = 0; i < kPasses; ++i) theirs(); }));
  }
  const double scale = 1e9 / (kPasses * static_cast<double>(kEvents));
  return {median(a) * scale, median(b) * scale};
}

void print(const std::string& name, const Pair& pair, const char* other, double goal) {
  const double ratio = pair.ours / pair.theirs;
  std::printf("{\"name\":\"%s\",\"ours\":%.1f,\"%s\":%.1f,\"unit\":\"ns/event\",\"ratio\":%.3f,\"goal\":%.2f,\"holds\":%s}\n",
              name.c_str(), pair.ours, other, pair.theirs, ratio, goal, ratio <= goal ? "true" : "false");
  std::fflush(stdout);
}

// ---- input ----

// Rows of every canonical type in equal parts, from four sources with their habits, shuffled.
Samples make_samples(const Registry& registry, bool quotes_only) {
  RandomRows rows(2'026, false);
  Random& random = rows.random();
  std::map<std::string, std::unique_ptr<Normalizer>> sources;
  std::vector<std::pair<std::string, std::shared_ptr<const Plan>>> samples;
  const auto plans = registry.all();
  const std::vector<std::string> venues = {"coinbase.us1", "kraken.eu1", "sim.us1", "replay.us1"};
  const std::vector<std::string> symbols = {"BTC-USD", "ETH-USD", "SOL-USD", "SPX", "AAPL", "XBT/EUR", "NDX", "ES=F"};
  while (samples.size() < kEvents) {
    const auto plan = quotes_only ? registry.by_event_type("quotes/v2") : plans[samples.size() % plans.size()];
    Row row;
    const std::uint64_t source = random.below(venues.size());
    rows.fill(*plan, row, 1 + source);
    const std::string& venue = venues[source];
    auto& normalizer = sources[venue];
    if (!normalizer) normalizer = std::make_unique<Normalizer>(NormalizerOptions{.source_id = venue, .region = "chamber_us"});
    const std::uint32_t route = normalizer->add_route(plan);
    EventBatch batch;
    Violation violation;
    const Timestamp time = kNoon + static_cast<std::int64_t>(random.below(3'600'000'000'000));
    EventHeader header{symbols[random.below(symbols.size())], time};
    header.event_time_source = source < 3 ? EventTimeSource::kVenue : EventTimeSource::kReceipt;
    if (plan->name() == "trades") header.sequence = random.below(900'000'000);
    if (random.chance(0.03)) header.quality = Quality::kSnapshot;
    if (!normalizer->normalize(route, header, row, time + 1'234'567, batch, violation)) stop(violation.path + ": " + violation.message);
    samples.emplace_back(batch.value(batch.entries()[0]), plan);
  }
  std::shuffle(samples.begin(), samples.end(), random);
  return Samples::of(samples);
}

// The same members in another order (the payload's, too), with or without white space; the checksum fits again.
class Rewriter {
 public:
  Rewriter(std::uint64_t seed, bool shuffle, bool pretty) : random_(seed), shuffle_(shuffle), pretty_(pretty) {}

  std::string rewrite(std::string_view text) {
    JsonTree tree;
    std::string error;
    if (!tree.parse(text, error)) stop(error);
    std::string payload;
    write(tree, *tree.member(tree.root(), "payload"), payload, 1);
    std::string out;
    checksum_.assign(16, '0');
    write_hex64(checksum_.data(), hash64(payload));
    payload_ = payload;
    write(tree, tree.root(), out, 0);
    return out;
  }

 private:
  void space(std::string& out, int depth) const {
    if (!pretty_) return;
    out += '\n';
    out.append(static_cast<std::size_t>(depth) * 2, ' ');
  }
  void write(const JsonTree& tree, const JsonValue& value, std::string& out, int depth) {
    if (value.kind == JsonKind::kArray) {
      out += '[';
      bool first = true;
      for (const JsonValue* item = tree.first(value); item != nullptr; item = tree.next(*item)) {
        if (!first) out += ',';
        first = false;
        space(out, depth + 1);
        write(tree, *item, out, depth + 1);
      }
      if (!first) space(out, depth);
      out += ']';
    } else if (value.kind == JsonKind::kObject) {
      std::vector<const JsonValue*> members;
      for (const JsonValue* item = tree.first(value); item != nullptr; item = tree.next(*item)) members.push_back(item);
      if (shuffle_) std::shuffle(members.begin(), members.end(), random_);
      out += '{';
      for (std::size_t i = 0; i < members.size(); ++i) {
        if (i > 0) out += ',';
        space(out, depth + 1);
        append_json_string(out, members[i]->key);
        out += pretty_ ? ": " : ":";
        if (depth == 0 && members[i]->key == "payload") out += payload_;
        else if (depth == 0 && members[i]->key == "checksum") append_json_string(out, checksum_);
        else write(tree, *members[i], out, depth + 1);
      }
      if (!members.empty()) space(out, depth);
      out += '}';
    } else {
      tree.write(value, out);
    }
  }

  Random random_;
  bool shuffle_;
  bool pretty_;
  std::string payload_;
  std::string checksum_;
};

Samples rewritten(const Samples& samples, bool shuffle, bool pretty) {
  Rewriter rewriter(7, shuffle, pretty);
  std::vector<std::pair<std::string, std::shared_ptr<const Plan>>> out;
  for (const Sample& sample : samples) out.emplace_back(rewriter.rewrite(sample.text), sample.plan);
  return Samples::of(out);
}

// ---- benchmarks ----

class Bench {
 public:
  Bench(const Registry& registry, Options options) : registry_(registry), options_(std::move(options)) {}

  void run() {
    samples_ = make_samples(registry_, false);
    parse("schema_read", samples_, 0.45);
    parse("schema_read_quotes", make_samples(registry_, true), 0.45);
    rapidjson_peer("schema_read_vs_rapidjson", 0.1);
    write("schema_write", samples_, 0.45);
    write("schema_write_quotes", make_samples(registry_, true), 0.45);
    parse("schema_read_any_order", rewritten(samples_, true, false), 1.3);
    parse("schema_read_pretty", rewritten(samples_, false, true), 1.3);
    parse("schema_read_any_order_pretty", rewritten(samples_, true, true), 1.3);
    validate("schema_validate_row");
  }

 private:
  bool wanted(const std::string& name) const { return std::regex_search(name, options_.filter); }

  std::function<void()> walk_of(const Samples& samples) {
    return [this, &samples] {
      Walk walk;
      for (const Sample& sample : samples) {
        if (!walk_document(parser_, sample.text, walk)) stop("simdjson refused a sample");
      }
      sink_ += walk.bytes + static_cast<std::size_t>(walk.numbers);
    };
  }

  void parse(const std::string& name, const Samples& samples, double goal) {
    if (!wanted(name)) return;
    EventReader reader(registry_);
    Event event;
    Violation violation;
    const auto ours = [&] {
      for (const Sample& sample : samples) {
        if (!reader.read(sample.text, event, violation)) stop(violation.path + ": " + violation.message + " in " + std::string(sample.text));
        sink_ += event.envelope.checksum;
      }
    };
    print(name, measure(options_, ours, walk_of(samples)), "floor", goal);
  }

  void rapidjson_peer(const std::string& name, double goal) {
    if (!wanted(name)) return;
    RapidSchemas schemas;
    std::map<const Plan*, std::unique_ptr<rapidjson::SchemaValidator>> validators;
    for (const Sample& sample : samples_) {
      auto& validator = validators[sample.plan.get()];
      if (!validator) validator = std::make_unique<rapidjson::SchemaValidator>(schemas.of(*sample.plan));
    }
    EventReader reader(registry_);
    Event event;
    Violation violation;
    const auto ours = [&] {
      for (const Sample& sample : samples_) {
        if (!reader.read(sample.text, event, violation)) stop(violation.message);
        sink_ += event.envelope.checksum;
      }
    };
    // The faster of its two ways: events of the parser straight into the validator, no tree.
    const auto theirs = [&] {
      rapidjson::Reader parser;
      for (const Sample& sample : samples_) {
        rapidjson::SchemaValidator& validator = *validators[sample.plan.get()];
        validator.Reset();
        rapidjson::MemoryStream bytes(sample.text.data(), sample.text.size());
        rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(bytes);
        if (!parser.Parse(stream, validator) || !validator.IsValid()) stop("RapidJSON refused " + std::string(sample.text));
      }
    };
    print(name, measure(options_, ours, theirs), "peer", goal);
  }

  // Typed rows of the samples, ready to be written.
  struct Prepared {
    std::vector<Row> rows;
    std::vector<EventHeader> headers;
    std::vector<std::uint32_t> routes;
    std::unique_ptr<Normalizer> normalizer;
  };
  Prepared prepare(const Samples& samples) {
    Prepared prepared;
    prepared.normalizer = std::make_unique<Normalizer>(NormalizerOptions{.source_id = "coinbase.us1", .region = "chamber_us"});
    std::map<const Plan*, std::uint32_t> routes;
    EventReader reader(registry_);
    Violation violation;
    for (const Sample& sample : samples) {
      if (!routes.contains(sample.plan.get())) routes[sample.plan.get()] = prepared.normalizer->add_route(sample.plan);
      Event event;
      if (!reader.read(sample.text, event, violation)) stop(violation.message);
      prepared.routes.push_back(routes[sample.plan.get()]);
      const auto sequence = sample.plan->name() == "trades" ? std::optional(event.envelope.sequence) : std::nullopt;
      prepared.headers.push_back({event.envelope.symbol, event.envelope.event_time, event.envelope.event_time_source, sequence, event.envelope.quality});
      prepared.rows.push_back(std::move(event.row));
    }
    return prepared;
  }

  void write(const std::string& name, const Samples& samples, double goal) {
    if (!wanted(name)) return;
    Prepared prepared = prepare(samples);
    EventBatch batch;
    Violation violation;
    std::int64_t now = kNoon.ns;
    const auto ours = [&] {
      for (std::size_t i = 0; i < samples.size(); ++i) {
        if (i % 100 == 0) batch.clear();  // as a host does when it has published
        EventHeader header = prepared.headers[i];
        header.event_time = {now += 1'234'567};  // a live stream: time goes on
        if (!prepared.normalizer->normalize(prepared.routes[i], header, prepared.rows[i], {now + 1'000}, batch, violation)) {
          stop(violation.path + ": " + violation.message);
        }
      }
      sink_ += batch.bytes();
    };
    print(name, measure(options_, ours, walk_of(samples)), "floor", goal);
  }

  void validate(const std::string& name) {
    if (!wanted(name)) return;
    Prepared prepared = prepare(samples_);
    Violation violation;
    const auto ours = [&] {
      for (const Row& row : prepared.rows) {
        if (!row.plan().validate(row, violation)) stop(violation.message);
      }
    };
    print(name, measure(options_, ours, walk_of(samples_)), "floor", 0.3);
  }

  const Registry& registry_;
  Options options_;
  Samples samples_;
  ondemand::parser parser_;
  std::size_t sink_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      options.quick = true;
    } else if (std::strcmp(argv[i], "--json") == 0) {
    } else if (std::strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
      options.filter = std::regex(argv[++i]);
    } else {
      std::fprintf(stderr, "usage: schema_bench [--json] [--filter REGEX] [--quick]\n");
      return 2;
    }
  }
  const auto registry = utp::Registry::builtin();
  if (!registry) stop(registry.error().message);
  Bench(*registry, std::move(options)).run();
}
