#include "schema/plan.h"

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/random.h"
#include "schema/random_rows.h"
#include "schema/registry.h"

namespace utp {
namespace {

std::string schema_text(const std::string& properties, const std::string& required = "",
                        const std::string& annotation = R"("event_type":"thing/v1","table":"thing")",
                        const std::string& id = "utp://thing/1.0.0") {
  return R"({"$schema":"https://json-schema.org/draft/2020-12/schema","$id":")" + id + R"(","x-utp":{)" + annotation +
         R"(},"type":"object","properties":{)" + properties + R"(},"required":[)" + required +
         R"(],"additionalProperties":false})";
}

std::shared_ptr<const Plan> plan_of(const std::string& properties, const std::string& required = "") {
  auto plan = Plan::compile(schema_text(properties, required), "thing.json");
  if (!plan) ADD_FAILURE() << plan.error().message;
  return plan ? *plan : nullptr;
}

std::string write(const Plan& plan, const Row& row) {
  std::string out;
  plan.write(row, out);
  return out;
}

bool same(const Value& a, const Value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kText: return a.as_text() == b.as_text();
    case Kind::kDecimal: return a.integer == b.integer && a.exponent == b.exponent;
    case Kind::kArray: return a.size == b.size;
    case Kind::kAbsent:
    case Kind::kNull: return true;
    default: return a.integer == b.integer;
  }
}

void expect_same(const Plan& plan, const Row& a, const Row& b, const std::string& what) {
  for (std::size_t i = 0; i < plan.columns().size(); ++i) {
    ASSERT_TRUE(same(a[i], b[i])) << plan.columns()[i].name << " in " << what;
    if (a[i].kind != Kind::kArray) continue;
    const auto x = a.elements(i, plan.columns()[i].arity);
    const auto y = b.elements(i, plan.columns()[i].arity);
    ASSERT_EQ(x.size(), y.size()) << what;
    for (std::size_t j = 0; j < x.size(); ++j) ASSERT_TRUE(same(x[j], y[j])) << plan.columns()[i].name << j << " in " << what;
  }
}

constexpr const char* kAll = R"("flag":{"type":"boolean"},"count":{"type":["integer","null"],"minimum":-5,"maximum":100},
  "price":{"type":["number","null"],"minimum":0},"name":{"type":["string","null"],"maxLength":5,"minLength":1},
  "at":{"type":["string","null"],"format":"utp-timestamp"},"tags":{"type":"array","maxItems":3,"items":{"type":"string","maxLength":4}},
  "levels":{"type":"array","items":{"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2}},
  "side":{"type":["string","null"],"enum":["buy","sell",null]},"score":{"type":"number","exclusiveMinimum":-1,"exclusiveMaximum":1,"multipleOf":0.25},
  "code":{"type":"string","pattern":"^[A-Z]+$"},"day":{"type":"string","format":"date"})";

TEST(Plan, ReadsItsOwnAnnotations) {
  const auto plan = Plan::compile(
      schema_text(R"("tags":{"type":"array","items":{"type":"string"}},"a":{"type":"number"})", R"("a")",
                  R"("event_type":"deep/thing/v3","table":"thing","explode":"tags","delivery":"conflate","retention":"72h","reserved":["old"])",
                  "utp://deep/thing/3.1.4"),
      "thing.json");
  ASSERT_TRUE(plan) << plan.error().message;
  const Plan& p = **plan;
  EXPECT_EQ(p.event_type(), "deep/thing/v3");
  EXPECT_EQ(p.schema_ref(), "utp://deep/thing/3.1.4");
  EXPECT_EQ(p.name(), "deep/thing");
  EXPECT_EQ(p.version(), (SemanticVersion{3, 1, 4}));
  EXPECT_EQ(p.table(), "thing");
  EXPECT_EQ(p.explode(), std::size_t{0});
  EXPECT_EQ(p.delivery(), Delivery::kConflate);
  EXPECT_EQ(p.retention_ns(), 72LL * 3'600 * 1'000'000'000);
  EXPECT_EQ(p.columns()[0].type, ColumnType::kArray);
  EXPECT_EQ(p.columns()[0].element, ColumnType::kText);
  EXPECT_TRUE(p.columns()[1].required);
  EXPECT_EQ(p.column("a"), std::size_t{1});
  EXPECT_FALSE(p.column("b"));
}

TEST(Plan, RefusesShapesThatCannotBeStoredWithThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {schema_text(R"("a":{"type":"object"})"), "/properties/a/type"},
      {schema_text(R"("a":{})"), "/properties/a/type"},
      {schema_text(R"("a":{"type":["string","number"]})"), "/properties/a/type"},
      {schema_text(R"("a":{"type":"array"})"), "/properties/a"},
      {schema_text(R"("a":{"type":"array","items":{"type":"object"}})"), "/properties/a/items/type"},
      {schema_text(R"("a":{"type":"array","items":{"type":"array","items":{"type":"number"}}})"), "/properties/a/items"},
      {schema_text(R"("a":{"type":"array","items":{"type":"array","minItems":2,"maxItems":2,"items":{"type":"array","items":{"type":"number"}}}})"),
       "/properties/a/items/items/type"},
      {schema_text(R"("Bad":{"type":"number"})"), "/properties/Bad"},
      {schema_text(R"("a":{"type":"number"})", R"("b")"), "/b"},
      {schema_text(R"("a":{"type":"number"})", "", R"("table":"t")"), "/x-utp"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v2")"), "/x-utp/event_type"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1","explode":"a")"), "/x-utp/explode"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1","explode":"b")"), "/x-utp/explode"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1","delivery":"fast")"), "/x-utp/delivery"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1","retention":"72")"), "/x-utp/retention"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1","reserved":["a"])"), "/properties/a"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1","colour":"red")"), "/x-utp/colour"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1")", "https://thing/1.0.0"), "/$id"},
      {schema_text(R"("a":{"type":"number"})", "", R"("event_type":"thing/v1")", "utp://thing/1.0"), "/$id"},
      {R"({"$id":"utp://thing/1.0.0","x-utp":{"event_type":"thing/v1"},"type":"object","properties":{}})", "/additionalProperties"},
      {R"({"$id":"utp://thing/1.0.0","x-utp":{"event_type":"thing/v1"},"type":"array","additionalProperties":false})", "/type"},
      {R"({"$id":"utp://thing/1.0.0","type":"object","additionalProperties":false})", "x-utp"},
  };
  for (const auto& [text, place] : cases) {
    const auto plan = Plan::compile(text, "thing.json");
    ASSERT_FALSE(plan) << text;
    EXPECT_NE(plan.error().message.find(place), std::string::npos) << plan.error().message << " wants " << place;
    EXPECT_NE(plan.error().message.find("thing.json"), std::string::npos) << plan.error().message;
  }
}

TEST(Plan, WritesCanonicalText) {
  const auto plan = plan_of(kAll);
  Row row(*plan);
  EXPECT_EQ(write(*plan, row), "{}");
  row.set(8, Decimal(5, -1));
  row.set(0, true);
  row.set(1, std::int64_t{-5});
  row.set(2, Decimal(6'508'367, -2));
  row.set(3, std::string_view("a\"b\n"));
  row.set(4, Timestamp{1'795'357'800'123'456'789});
  row.begin_array(5);
  row.push(Value::of(std::string_view("x")));
  row.push(Value::of(std::string_view("\x01é")));
  row.end_array(5, 2);
  row.begin_array(6);
  for (const std::int64_t m : {1, 25, 3, 40}) row.push(Value::of(Decimal(m, -1)));
  row.end_array(6, 2);
  row.set_null(7);
  Violation violation;
  ASSERT_TRUE(plan->validate(row, violation)) << violation.path << violation.message;
  EXPECT_EQ(write(*plan, row),
            R"({"flag":true,"count":-5,"price":65083.67,"name":"a\"b\n","at":"2026-11-22T14:30:00.123456789Z",)"
            R"("tags":["x","\u0001é"],"levels":[[0.1,2.5],[0.3,4]],"side":null,"score":0.5})");
}

TEST(Plan, ReadsWhatIsLegalJsonInAnyForm) {
  const auto plan = plan_of(kAll);
  Row row;
  Violation violation;
  const std::string pretty = "\n{ \"score\" : 2.5e-1,\t\"name\" : \"\\u0061\\ud83d\\ude00\\/\" ,\"count\":1.0,\r\n \"tags\": [ ] , \"price\":1E2,\"levels\":[ [1,2] , [ 3 ,4.50] ] }  ";
  EXPECT_FALSE(plan->read_fast(pretty.substr(0, 3), row));
  ASSERT_TRUE(plan->read(pretty, row, violation)) << violation.path << violation.message;
  EXPECT_EQ(write(*plan, row), "{\"count\":1,\"price\":100,\"name\":\"a😀/\",\"tags\":[],\"levels\":[[1,2],[3,4.5]],\"score\":0.25}");
}

struct Bad {
  std::string json, code, path;
};

TEST(Plan, SaysWhatIsWrongAndWhere) {
  const auto plan = plan_of(kAll, R"("flag")");
  const std::vector<Bad> cases = {
      {"", "json", ""},
      {"{", "json", ""},
      {R"({"flag":true,})", "json", ""},
      {R"({"flag":true} x)", "json", ""},
      {R"({"flag":true,"flag":true})", "json", ""},
      {R"({"flag":true,"name":"a	b"})", "json", ""},
      {"{\"flag\":true,\"name\":\"\xff\"}", "json", ""},
      {R"({"flag":true,"price":01})", "json", ""},
      {R"({"flag":true,"price":1.})", "json", ""},
      {R"({"flag":true,"price":NaN})", "json", ""},
      {R"([])", "type", ""},
      {R"({})", "required", "/flag"},
      {R"({"flag":1})", "type", "/flag"},
      {R"({"flag":null})", "type", "/flag"},
      {R"({"flag":true,"count":1.5})", "type", "/count"},
      {R"({"flag":true,"count":-6})", "minimum", "/count"},
      {R"({"flag":true,"count":101})", "maximum", "/count"},
      {R"({"flag":true,"count":99999999999999999999})", "precision", "/count"},
      {R"({"flag":true,"price":-0.01})", "minimum", "/price"},
      {R"({"flag":true,"price":"1"})", "type", "/price"},
      {R"({"flag":true,"price":1.23456789012345678901})", "precision", "/price"},
      {R"({"flag":true,"name":""})", "minLength", "/name"},
      {R"({"flag":true,"name":"éééééé"})", "maxLength", "/name"},
      {R"({"flag":true,"at":"2026-11-22T14:30:00Z"})", "format", "/at"},
      {R"({"flag":true,"at":"2026-02-30T14:30:00.000000000Z"})", "format", "/at"},
      {R"({"flag":true,"tags":["a","b","c","d"]})", "maxItems", "/tags"},
      {R"({"flag":true,"tags":["abcde"]})", "maxLength", "/tags/0"},
      {R"({"flag":true,"tags":[null]})", "type", "/tags/0"},
      {R"({"flag":true,"tags":null})", "type", "/tags"},
      {R"({"flag":true,"levels":[[1,2],[1]]})", "minItems", "/levels/1"},
      {R"({"flag":true,"levels":[[1,2,3]]})", "maxItems", "/levels/0"},
      {R"({"flag":true,"levels":[[1,"2"]]})", "type", "/levels/0/1"},
      {R"({"flag":true,"side":"hold"})", "enum", "/side"},
      {R"({"flag":true,"score":1})", "exclusiveMaximum", "/score"},
      {R"({"flag":true,"score":-1})", "exclusiveMinimum", "/score"},
      {R"({"flag":true,"score":0.3})", "multipleOf", "/score"},
      {R"({"flag":true,"code":"a"})", "pattern", "/code"},
      {R"({"flag":true,"day":"2026-02-30"})", "format", "/day"},
      {R"({"flag":true,"more/~":1})", "additionalProperties", "/more~1~0"},
  };
  Row row;
  for (const Bad& bad : cases) {
    Violation violation;
    EXPECT_FALSE(plan->read_fast(bad.json, row)) << bad.json;
    EXPECT_FALSE(plan->read(bad.json, row, violation)) << bad.json;
    EXPECT_EQ(violation.code, bad.code) << bad.json << ": " << violation.message;
    EXPECT_EQ(violation.path, bad.path) << bad.json << ": " << violation.message;
    EXPECT_FALSE(violation.message.empty()) << bad.json;
  }
}

TEST(Plan, ValidatesTypedRows) {
  const auto plan = plan_of(kAll, R"("flag")");
  const auto violated = [&plan](auto change) {
    Row row(*plan);
    row.set(0, true);
    change(row);
    Violation v;
    return plan->validate(row, v) ? std::string() : v.code + " " + v.path;
  };
  EXPECT_EQ(violated([](Row&) {}), "");
  EXPECT_EQ(violated([](Row& r) { r.set(0, Value{}); }), "required /flag");
  EXPECT_EQ(violated([](Row& r) { r.set_null(0); }), "type /flag");
  EXPECT_EQ(violated([](Row& r) { r.set(1, Decimal(1, 0)); }), "type /count");
  EXPECT_EQ(violated([](Row& r) { r.set(1, std::int64_t{101}); }), "maximum /count");
  EXPECT_EQ(violated([](Row& r) { r.set(2, std::int64_t{7}); }), "");
  EXPECT_EQ(violated([](Row& r) { r.set(2, Decimal(-1, 0)); }), "minimum /price");
  EXPECT_EQ(violated([](Row& r) { r.set(2, Decimal(1, -40)); }), "precision /price");
  EXPECT_EQ(violated([](Row& r) { r.set(3, std::string_view("\xff")); }), "utf8 /name");
  EXPECT_EQ(violated([](Row& r) { r.set(3, std::string_view("ééééé")); }), "");
  EXPECT_EQ(violated([](Row& r) { r.set(3, std::string_view("abcdef")); }), "maxLength /name");
  EXPECT_EQ(violated([](Row& r) { r.set(4, std::string_view("2026")); }), "type /at");
  EXPECT_EQ(violated([](Row& r) { r.set(7, std::string_view("hold")); }), "enum /side");
  EXPECT_EQ(violated([](Row& r) {
              r.begin_array(6);
              r.push(Value::of(Decimal(1, 0)));
              r.push(Value::null());
              r.end_array(6, 1);
            }), "type /levels/0/1");
  EXPECT_EQ(violated([](Row& r) {
              r.begin_array(5);
              for (int i = 0; i < 4; ++i) r.push(Value::of(std::string_view("a")));
              r.end_array(5, 4);
            }), "maxItems /tags");
}

TEST(Plan, MayHaveNoColumns) {
  const auto plan = plan_of("");
  Row row;
  Violation violation;
  EXPECT_TRUE(plan->read("{}", row, violation)) << violation.message;
  EXPECT_TRUE(plan->read(" { } ", row, violation)) << violation.message;
  EXPECT_FALSE(plan->read(R"({"a":1})", row, violation));
}

// Keys in any order are kept track of in 64 bits: at, below and above that many columns.
TEST(Plan, ReadsManyColumnsInAnyOrder) {
  for (const int columns : {63, 64, 65, 100}) {
    std::string properties;
    std::string text;
    for (int i = 0; i < columns; ++i) {
      properties += (i > 0 ? ",\"c" : "\"c") + std::to_string(i) + R"(":{"type":"integer"})";
      text += (i > 0 ? ", \"c" : "\"c") + std::to_string(columns - 1 - i) + "\" : " + std::to_string(i);
    }
    const std::string last = "\"c" + std::to_string(columns - 1) + "\"";
    const auto plan = plan_of(properties, last);
    Row row;
    Violation violation;
    ASSERT_TRUE(plan->read("{ " + text + " }", row, violation)) << columns << violation.message;
    for (int i = 0; i < columns; ++i) EXPECT_EQ(row[static_cast<std::size_t>(i)].as_integer(), columns - 1 - i);
    EXPECT_FALSE(plan->read("{ " + text + ", \"c0\":1}", row, violation)) << columns;
    EXPECT_FALSE(plan->read("{ " + text.substr(text.find(',') + 1) + " }", row, violation)) << columns;
    EXPECT_EQ(violation.code + violation.path, "required/c" + std::to_string(columns - 1));
  }
}

TEST(Plan, AsksForTheLengthOfAChoice) {
  const auto plan = plan_of(R"("kind":{"type":"string","enum":["sell","a","é"],"maxLength":3,"minLength":2})");
  Row row;
  Violation violation;
  EXPECT_FALSE(plan->read(R"({"kind":"sell"})", row, violation));
  EXPECT_EQ(violation.code, "maxLength");
  for (const char* const text : {R"({"kind":"a"})", R"({"kind":"é"})", R"({ "kind":"é"})", R"({ "kind" : "a" })"}) {
    EXPECT_FALSE(plan->read(text, row, violation)) << text;
    EXPECT_EQ(violation.code, "minLength") << text;
  }
  EXPECT_FALSE(plan->read(R"({ "kind" : "sell" })", row, violation));
  EXPECT_EQ(violation.code, "maxLength");
}

TEST(Plan, TakesManyElementsAndLongTexts) {
  const auto plan = plan_of(R"("levels":{"type":"array","items":{"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2}},"body":{"type":"string"})");
  Row row(*plan);
  const std::string body(100'000, 'b');
  row.begin_array(0);
  for (int i = 0; i < 20'000; ++i) {
    row.push(Value::of(Decimal(i, -3)));
    row.push(Value::of(Decimal(1, -36)));
  }
  row.end_array(0, 20'000);
  row.set(1, std::string_view(body));
  const std::string text = write(*plan, row);
  Row again;
  ASSERT_TRUE(plan->read_fast(text, again));
  expect_same(*plan, row, again, "a large row");
  Violation violation;
  ASSERT_TRUE(plan->read_general(text, again, violation));
  expect_same(*plan, row, again, "a large row");
}

// Both ways on the same bytes; the fast one may only decline.
void expect_agreement(const Plan& plan, const std::string& bytes, Row& fast, Row& general) {
  // A copy of exactly this size on the heap, so that a sanitizer sees every read behind its end.
  const std::unique_ptr<char[]> exact(new char[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  const std::string_view view(exact.get(), bytes.size());
  Violation violation;
  const bool quick = plan.read_fast(view, fast);
  const bool sure = plan.read_general(view, general, violation);
  if (quick) {
    ASSERT_TRUE(sure) << bytes << ": " << violation.code << " " << violation.path << " " << violation.message;
    expect_same(plan, fast, general, bytes);
  }
  if (sure) {
    Violation why;
    ASSERT_TRUE(plan.validate(general, why)) << bytes << why.code << why.path;
    const std::string canonical = write(plan, general);
    ASSERT_TRUE(plan.read(canonical, fast, why)) << canonical;
    expect_same(plan, fast, general, canonical);
    EXPECT_EQ(write(plan, fast), canonical);
  }
}

std::vector<std::shared_ptr<const Plan>> builtin_plans() {
  static const auto registry = Registry::builtin();
  if (!registry) ADD_FAILURE() << registry.error().message;
  return registry->all();
}

TEST(Plan, FastAndGeneralAgreeOnRandomRowsOfEveryBuiltinPlan) {
  const std::uint64_t seed = 7;
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (const bool nasty : {false, true}) {
    RandomRows rows(seed, nasty);
    for (const auto& plan : builtin_plans()) {
      Row row;
      Row fast;
      Row general;
      int quick = 0;
      for (int i = 0; i < 300; ++i) {
        rows.fill(*plan, row);
        Violation violation;
        ASSERT_TRUE(plan->validate(row, violation)) << plan->name() << violation.path << violation.message;
        const std::string text = write(*plan, row);
        ASSERT_TRUE(plan->read_general(text, general, violation)) << text << violation.path << violation.message;
        expect_same(*plan, row, general, text);
        quick += plan->read_fast(text, fast) ? 1 : 0;
        expect_agreement(*plan, text, fast, general);
      }
      if (!nasty) {
        EXPECT_EQ(quick, 300) << plan->name() << ": what we write ourselves goes the fast way";
      }
    }
  }
}

TEST(Plan, FastAndGeneralAgreeOnMutatedBytes) {
  const std::uint64_t seed = 8;
  SCOPED_TRACE("seed " + std::to_string(seed));
  RandomRows rows(seed, true);
  Random& random = rows.random();
  constexpr std::string_view kAlphabet = "{}[]\",:.-+eE0123456789 \n\\utrfalsn\x01\x80\xc3\xff";
  for (const auto& plan : builtin_plans()) {
    Row row;
    Row fast;
    Row general;
    for (int i = 0; i < 600; ++i) {
      rows.fill(*plan, row);
      std::string text = write(*plan, row);
      for (std::uint64_t n = 1 + random.below(3); n > 0 && !text.empty(); --n) {
        const std::size_t at = random.below(text.size());
        const char c = kAlphabet[random.below(kAlphabet.size())];
        switch (random.below(5)) {
          case 0: text[at] = c; break;
          case 1: text.insert(at, 1, c); break;
          case 2: text.erase(at, 1); break;
          case 3: text.resize(at); break;
          default: text.insert(at, text.substr(random.below(text.size()), random.below(12)));
        }
      }
      expect_agreement(*plan, text, fast, general);
    }
  }
}

TEST(Row, KeepsCopiedTextsUntilReset) {
  const auto plan = plan_of(R"("a":{"type":"string"},"b":{"type":"string"})");
  Row row(*plan);
  std::vector<std::string_view> views;
  for (int i = 0; i < 200; ++i) views.push_back(row.keep(std::string(100, static_cast<char>('a' + i % 26))));
  const std::string_view large = row.keep(std::string(10'000, 'z'));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(views[static_cast<std::size_t>(i)], std::string(100, static_cast<char>('a' + i % 26)));
  EXPECT_EQ(large, std::string(10'000, 'z'));
  row.reset(*plan);
  row.copy(0, "again");
  EXPECT_EQ(row[0].as_text(), "again");
  EXPECT_EQ(row[1].kind, Kind::kAbsent);
}

}  // namespace
}  // namespace utp
