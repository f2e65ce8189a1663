#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "normalize/normalizer.h"
#include "schema/json.h"
#include "schema/random_rows.h"
#include "schema/registry.h"

namespace utp {
namespace {

constexpr Timestamp kNoon{1'795'348'800'000'000'000};

std::string checksum_of(std::string_view payload) {
  std::string hex(16, '0');
  write_hex64(hex.data(), hash64(payload));
  return hex;
}

std::map<std::string, std::string> fields() {
  const std::string payload = R"({"bid":1.5})";
  return {{"v", "1"},
          {"event_type", R"("quotes/v2")"},
          {"schema_ref", R"("utp://quotes/2.0.0")"},
          {"source_id", R"("sim.us1")"},
          {"realm", R"("prod")"},
          {"region", R"("local")"},
          {"symbol", R"("BTC-USD")"},
          {"event_time", R"("2026-11-22T12:00:00.000000001Z")"},
          {"event_time_source", R"("venue")"},
          {"ingest_time", R"("2026-11-22T12:00:00.000000002Z")"},
          {"sequence", "3"},
          {"watermark", R"("2026-11-22T11:59:55.000000001Z")"},
          {"checksum", "\"" + checksum_of(payload) + "\""},
          {"payload", payload}};
}

const std::vector<std::string> kOrder = {"v",          "event_type",        "schema_ref",  "source_id", "realm",     "region",   "symbol",
                                         "event_time", "event_time_source", "ingest_time", "sequence",  "watermark", "checksum", "quality",
                                         "payload"};

std::string join(const std::map<std::string, std::string>& values, const std::vector<std::string>& order = kOrder) {
  std::string text = "{";
  for (const auto& name : order) {
    const auto value = values.find(name);
    if (value == values.end()) continue;
    if (text.size() > 1) text += ',';
    text += "\"" + name + "\":" + value->second;
  }
  return text + "}";
}

void expect_same(const Event& a, const Event& b, const std::string& what) {
  const Envelope& x = a.envelope;
  const Envelope& y = b.envelope;
  EXPECT_EQ(x.event_type, y.event_type) << what;
  EXPECT_EQ(x.schema_ref, y.schema_ref) << what;
  EXPECT_EQ(x.source_id, y.source_id) << what;
  EXPECT_EQ(x.realm, y.realm) << what;
  EXPECT_EQ(x.region, y.region) << what;
  EXPECT_EQ(x.symbol, y.symbol) << what;
  EXPECT_EQ(x.event_time, y.event_time) << what;
  EXPECT_EQ(x.event_time_source, y.event_time_source) << what;
  EXPECT_EQ(x.ingest_time, y.ingest_time) << what;
  EXPECT_EQ(x.sequence, y.sequence) << what;
  EXPECT_EQ(x.watermark, y.watermark) << what;
  EXPECT_EQ(x.checksum, y.checksum) << what;
  EXPECT_EQ(x.quality, y.quality) << what;
  EXPECT_EQ(x.payload, y.payload) << what;
  EXPECT_EQ(a.key(), b.key()) << what;
  std::string p;
  std::string q;
  a.row.plan().write(a.row, p);
  b.row.plan().write(b.row, q);
  EXPECT_EQ(p, q) << what;
}

class EventReaderTest : public testing::Test {
 protected:
  EventReaderTest() : registry_(Registry::builtin().value()), reader_(registry_) {}

  std::string verdict(const std::string& text) {
    Event event;
    Violation violation;
    return reader_.read(text, event, violation) ? "ok" : violation.code + " " + violation.path;
  }

  // The reader that has seen such an envelope and the general way must agree on these bytes.
  void expect_agreement(const std::string& bytes, Event& fast, Event& general) {
    const std::unique_ptr<char[]> exact(new char[bytes.size()]);
    std::copy(bytes.begin(), bytes.end(), exact.get());
    const std::string_view view(exact.get(), bytes.size());
    Violation a;
    Violation b;
    const bool quick = reader_.read(view, fast, a);
    const bool sure = reader_.read_general(view, general, b);
    ASSERT_EQ(quick, sure) << bytes << a.message << b.message;
    if (quick) expect_same(fast, general, bytes);
    else EXPECT_EQ(a.code + a.path, b.code + b.path) << bytes;
  }

  Registry registry_;
  EventReader reader_;
};

TEST_F(EventReaderTest, ReadsEveryFieldBothWays) {
  auto values = fields();
  values["quality"] = R"(["late","snapshot"])";
  const std::string text = join(values);
  Event event;
  Violation violation;
  for (int i = 0; i < 2; ++i) {  // the second time the beginning is known
    ASSERT_TRUE(reader_.read(text, event, violation)) << violation.path << violation.message;
    const Envelope& e = event.envelope;
    EXPECT_EQ(e.event_type, "quotes/v2");
    EXPECT_EQ(e.schema_ref, "utp://quotes/2.0.0");
    EXPECT_EQ(e.source_id, "sim.us1");
    EXPECT_EQ(e.realm, "prod");
    EXPECT_EQ(e.region, "local");
    EXPECT_EQ(e.symbol, "BTC-USD");
    EXPECT_EQ(e.event_time, kNoon + 1);
    EXPECT_EQ(e.event_time_source, EventTimeSource::kVenue);
    EXPECT_EQ(e.ingest_time, kNoon + 2);
    EXPECT_EQ(e.sequence, 3u);
    EXPECT_EQ(e.watermark, kNoon + 1 - 5'000'000'000);
    EXPECT_EQ(e.quality, Quality::kLate | Quality::kSnapshot);
    EXPECT_EQ(e.payload, R"({"bid":1.5})");
    EXPECT_EQ(event.row[0].as_decimal(), Decimal(15, -1));
  }
}

TEST_F(EventReaderTest, IgnoresUnknownEnvelopeFieldsAndTakesAnyOrder) {
  auto values = fields();
  values["trace"] = R"({"a":[1,{"payload":2}],"b":null})";
  auto order = kOrder;
  order.push_back("trace");
  std::reverse(order.begin(), order.end());
  EXPECT_EQ(verdict(join(values, order)), "ok");
  EXPECT_EQ(verdict(" " + join(values) + "\n"), "ok");
  EXPECT_EQ(verdict(join(values).insert(join(values).size() - 1, " \n ")), "ok");
  values["trace"] = "[1,}";
  EXPECT_EQ(verdict(join(values, order)), "json ");
}

TEST_F(EventReaderTest, SaysWhatIsWrongAndWhere) {
  const auto with = [](const std::string& name, const std::string& value) {
    auto values = fields();
    if (value.empty()) values.erase(name);
    else values[name] = value;
    return join(values);
  };
  EXPECT_EQ(verdict(join(fields())), "ok");
  EXPECT_EQ(verdict(""), "json ");
  EXPECT_EQ(verdict("[]"), "type ");
  EXPECT_EQ(verdict(join(fields()) + "x"), "json ");
  for (const auto& [name, value] : fields()) EXPECT_EQ(verdict(with(name, "")), "required /" + name);
  for (const auto& [name, value] : fields()) EXPECT_EQ(verdict(with(name, "true")), "type /" + name);
  EXPECT_EQ(verdict(with("v", "2")), "const /v");
  EXPECT_EQ(verdict(with("event_type", R"("quotes")")), "pattern /event_type");
  EXPECT_EQ(verdict(with("event_type", R"("quotes/v3")")), "const /event_type");
  EXPECT_EQ(verdict(with("event_type", "\"" + std::string(65, 'a') + "/v1\"")), "maxLength /event_type");
  EXPECT_EQ(verdict(with("schema_ref", R"("utp://quotes/2")")), "pattern /schema_ref");
  EXPECT_EQ(verdict(with("schema_ref", R"("utp://quotes/2.9.0")")), "schema_unknown /schema_ref");
  EXPECT_EQ(verdict(with("source_id", R"("")")), "pattern /source_id");
  EXPECT_EQ(verdict(with("realm", R"("a.b")")), "pattern /realm");
  EXPECT_EQ(verdict(with("region", R"("A")")), "pattern /region");
  EXPECT_EQ(verdict(with("symbol", R"("é")")), "pattern /symbol");
  EXPECT_EQ(verdict(with("symbol", "\"" + std::string(65, 'a') + "\"")), "maxLength /symbol");
  EXPECT_EQ(verdict(with("event_time", R"("2026-11-22T12:00:00Z")")), "format /event_time");
  EXPECT_EQ(verdict(with("event_time_source", R"("me")")), "enum /event_time_source");
  EXPECT_EQ(verdict(with("sequence", "-1")), "minimum /sequence");
  EXPECT_EQ(verdict(with("sequence", "1.5")), "type /sequence");
  EXPECT_EQ(verdict(with("sequence", "3.0")), "ok");
  EXPECT_EQ(verdict(with("sequence", "9007199254740992")), "maximum /sequence");
  EXPECT_EQ(verdict(with("sequence", "1e30")), "maximum /sequence");
  EXPECT_EQ(verdict(with("checksum", R"("0123456789ABCDEF")")), "pattern /checksum");
  EXPECT_EQ(verdict(with("checksum", R"("0123456789abcdef")")), "checksum /checksum");
  EXPECT_EQ(verdict(with("quality", "[]")), "minItems /quality");
  EXPECT_EQ(verdict(with("quality", R"(["fine"])")), "enum /quality/0");
  EXPECT_EQ(verdict(with("payload", R"({"bid":"1"})")), "type /payload/bid");
  EXPECT_EQ(verdict(with("payload", R"({"bid":1.5,"x":1})")), "additionalProperties /payload/x");
  EXPECT_EQ(verdict(with("payload", R"({"bid":1.6})")), "checksum /checksum");
  EXPECT_EQ(verdict(with("payload", R"({"bid":1.50})")), "checksum /checksum");
  EXPECT_EQ(verdict(with("payload", "{" + std::string(kEnvelopeBytesMax, ' ') + "}")), "size ");
}

TEST_F(EventReaderTest, ReadsBackWhatTheNormalizerWritesForEveryBuiltinPlan) {
  const std::uint64_t seed = 5;
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (const bool nasty : {false, true}) {
    RandomRows rows(seed, nasty);
    Normalizer normalizer({.source_id = "sim.us1"});
    EventBatch batch;
    Violation violation;
    Event event;
    Event general;
    for (const auto& plan : registry_.all()) {
      const std::uint32_t route = normalizer.add_route(plan);
      Row row;
      for (int i = 0; i < 100; ++i) {
        rows.fill(*plan, row);
        batch.clear();
        const std::string symbol = "S" + std::to_string(i % 7);
        EventHeader header{symbol, kNoon + rows.random().between(-7'000'000'000, 7'000'000'000)};
        header.event_time_source = static_cast<EventTimeSource>(i % 3);
        header.quality = static_cast<Quality>(rows.random().below(1u << kQualityCount));
        if (i % 2 == 0) header.sequence = rows.random().below(kSequenceMax);
        ASSERT_TRUE(normalizer.normalize(route, header, row, kNoon, batch, violation)) << violation.path << violation.message;
        const std::string text(batch.value(batch.entries()[0]));
        ASSERT_TRUE(reader_.read(text, event, violation)) << text << violation.path << violation.message;
        EXPECT_EQ(event.envelope.event_time, header.event_time);
        EXPECT_EQ(event.envelope.symbol, symbol);
        std::string want;
        plan->write(row, want);
        EXPECT_EQ(event.envelope.payload, want);
        expect_agreement(text, event, general);
      }
    }
  }
}

// The members in another order with white space of one of four styles around them; nested objects, too. `mutate` may change a
// payload's bytes before their checksum is taken.
class Rewriter {
 public:
  Rewriter(Random& random, int style) : random_(random), style_(style) {}

  std::string rewrite(const std::string& text, const std::function<void(std::string&)>& mutate) {
    std::string error;
    EXPECT_TRUE(tree_.parse(text, error)) << error;
    payload_ = object(*tree_.member(tree_.root(), "payload"), 1);
    mutate(payload_);
    return object(tree_.root(), 0);
  }

 private:
  std::string space(int depth) const {
    static constexpr const char* kBreaks[] = {"", "\n", "\r\n", " \t"};
    return kBreaks[style_] + std::string(static_cast<std::size_t>(style_ == 0 ? 0 : 2 * depth), ' ');
  }
  std::string object(const JsonValue& value, int depth) {
    std::vector<const JsonValue*> members;
    for (const JsonValue* item = tree_.first(value); item != nullptr; item = tree_.next(*item)) members.push_back(item);
    std::shuffle(members.begin(), members.end(), random_);
    static constexpr const char* kColons[] = {":", ": ", " : ", "\t:"};
    std::string out = "{";
    for (const JsonValue* member : members) {
      if (member != members.front()) out += style_ == 3 ? " ," : ",";
      out += space(depth + 1) + "\"" + std::string(member->key) + "\"" + kColons[style_];
      if (depth == 0 && member->key == "payload") out += payload_;
      else if (depth == 0 && member->key == "checksum") out += "\"" + checksum_of(payload_) + "\"";
      else tree_.write(*member, out);
    }
    return out + space(depth) + "}";
  }

  Random& random_;
  int style_;
  JsonTree tree_;
  std::string payload_;
};

TEST_F(EventReaderTest, FastAndGeneralAgreeOnMutatedBytesInAnyOrder) {
  const std::uint64_t seed = 7;
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomRows rows(seed, false);
  Random& random = rows.random();
  Normalizer normalizer({.source_id = "sim.us1"});
  constexpr std::string_view kAlphabet = "{}[]\",:.-0 \n\x01\x0b\x1f";
  const auto mutate = [&](std::string& text) {
    const std::size_t at = random.below(text.size());
    const char c = kAlphabet[random.below(kAlphabet.size())];
    switch (random.below(4)) {
      case 0: text[at] = c; break;
      case 1: text.insert(at, 1, c); break;
      case 2: text.erase(at, 1); break;
      default: text.insert(at, text.substr(random.below(text.size()), random.below(40)));
    }
  };
  EventBatch batch;
  Event fast;
  Event general;
  Violation violation;
  for (const auto& plan : registry_.all()) {
    const std::uint32_t route = normalizer.add_route(plan);
    Row row;
    for (int i = 0; i < 400; ++i) {
      rows.fill(*plan, row);
      batch.clear();
      EventHeader header{"BTC-USD", kNoon + i};
      if (i % 5 == 0) header.quality = Quality::kSnapshot | Quality::kGap;
      ASSERT_TRUE(normalizer.normalize(route, header, row, kNoon, batch, violation));
      const std::string text(batch.value(batch.entries()[0]));
      std::string other = Rewriter(random, i / 4 % 4).rewrite(text, [&](std::string& payload) {
        if (i % 4 == 1) mutate(payload);
      });
      if (i % 4 == 0) {
        ASSERT_TRUE(reader_.read(other, fast, violation)) << other << violation.path << violation.message;
      }
      expect_agreement(other, fast, general);
      if (i % 4 < 2) continue;
      mutate(other);
      expect_agreement(other, fast, general);
    }
  }
}

// Whatever stands behind a message, and be it nothing at all, is no part of it.
TEST_F(EventReaderTest, ReadsMessagesAtTheEndOfMemory) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const memory = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  char* const begin = static_cast<char*>(memory);
  ASSERT_EQ(mprotect(begin + page, page, PROT_NONE), 0);
  std::vector<std::string> order = kOrder;
  std::reverse(order.begin(), order.end());
  std::string text = join(fields(), order);
  text.insert(1, "\n  ");
  const std::vector<std::string> ends = {"", " ", std::string(40, ' ')};
  Event fast;
  Event general;
  for (const char filler : {' ', '"', '}', '\\', '\xff'}) {
    std::memset(begin, filler, page);
    for (const std::string& end : ends) {
      for (std::size_t behind = 0; behind < 150; ++behind) {
        const std::string message = text + end;
        char* const at = begin + page - behind - message.size();
        std::memcpy(at, message.data(), message.size());
        Violation violation;
        EXPECT_TRUE(reader_.read({at, message.size()}, fast, violation)) << behind << violation.message;
        EXPECT_FALSE(reader_.read({at, text.size() - 1}, general, violation));
        EXPECT_EQ(fast.envelope.payload.data(), at + message.find(R"({"bid")"));
        std::memset(at, filler, message.size());
      }
    }
  }
  munmap(memory, 2 * page);
}

TEST_F(EventReaderTest, FastAndGeneralAgreeOnMutatedBytes) {
  const std::uint64_t seed = 6;
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomRows rows(seed, true);
  Random& random = rows.random();
  Normalizer normalizer({.source_id = "sim.us1"});
  constexpr std::string_view kAlphabet = "{}[]\",:.-+eE0123456789 \n\\utrfalsnTZ\x01\x80\xc3\xff";
  EventBatch batch;
  Event fast;
  Event general;
  for (const auto& plan : registry_.all()) {
    const std::uint32_t route = normalizer.add_route(plan);
    Row row;
    for (int i = 0; i < 300; ++i) {
      rows.fill(*plan, row);
      batch.clear();
      Violation violation;
      ASSERT_TRUE(normalizer.normalize(route, {"BTC-USD", kNoon + i}, row, kNoon, batch, violation));
      std::string text(batch.value(batch.entries()[0]));
      expect_agreement(text, fast, general);
      for (std::uint64_t n = 1 + random.below(2); n > 0; --n) {
        const std::size_t at = random.below(std::min<std::size_t>(text.size(), 600));
        const char c = kAlphabet[random.below(kAlphabet.size())];
        switch (random.below(4)) {
          case 0: text[at] = c; break;
          case 1: text.insert(at, 1, c); break;
          case 2: text.erase(at, 1); break;
          default: text.insert(at, text.substr(random.below(text.size()), random.below(12)));
        }
      }
      expect_agreement(text, fast, general);
    }
  }
}

}  // namespace
}  // namespace utp
