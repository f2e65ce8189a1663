#include "schema/schema.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <re2/re2.h>

#include "core/embedded_file.h"
#include "schema/formats.h"
#include "schema/json.h"
#include "schema/number.h"

namespace utp {
namespace {

Schema compiled(std::string_view text) {
  auto schema = Schema::compile(text, "test.json");
  EXPECT_TRUE(schema.has_value()) << (schema ? "" : schema.error().message);
  return schema ? *schema : Schema();
}

std::string refusal(std::string_view text) {
  const auto schema = Schema::compile(text, "test.json");
  EXPECT_FALSE(schema.has_value()) << text;
  return schema ? "" : schema.error().message;
}

Violation violation_of(const Schema& schema, std::string_view json) {
  Violation violation;
  EXPECT_FALSE(schema.validate(json, violation)) << json;
  return violation;
}

bool valid(const Schema& schema, std::string_view json) {
  Violation violation;
  return schema.validate(json, violation);
}

TEST(Schema, CompilesEveryCanonicalSchema) {
  ASSERT_GE(embedded::schemas().size(), 17u);
  for (const EmbeddedFile& file : embedded::schemas()) {
    const auto schema = Schema::compile(file.content, file.path);
    EXPECT_TRUE(schema.has_value()) << schema.error().message;
  }
}

TEST(Schema, RefusesWhatIsOutsideTheProfileWithItsPointer) {
  for (const std::string keyword :
       {"contains", "oneOf", "anyOf", "allOf", "not", "if", "then", "else", "$anchor", "$dynamicRef", "$dynamicAnchor",
        "unevaluatedProperties", "unevaluatedItems", "prefixItems", "patternProperties", "propertyNames",
        "dependentSchemas", "dependentRequired", "minProperties", "maxProperties", "uniqueItems", "$vocabulary",
        "definitions", "contentSchema", "minContains", "maximun"}) {
    const std::string message = refusal("{\"properties\": {\"a~/b\": {\"" + keyword + "\": {}}}}");
    EXPECT_NE(message.find("test.json: at #/properties/a~0~1b/" + keyword), std::string::npos) << message;
  }
}

TEST(Schema, RefusesBadValuesOfKeywordsWithTheirPointer) {
  for (const auto& [schema, pointer] : std::vector<std::pair<std::string, std::string>>{
           {R"({"type": "text"})", "#/type"},
           {R"({"type": ["string", "string"]})", "#/type"},
           {R"({"type": []})", "#/type"},
           {R"({"enum": []})", "#/enum"},
           {R"({"enum": [1, 1.0]})", "#/enum"},
           {R"({"required": ["a", "a"]})", "#/required"},
           {R"({"minLength": -1})", "#/minLength"},
           {R"({"maxItems": 1.5})", "#/maxItems"},
           {R"({"multipleOf": 0})", "#/multipleOf"},
           {R"({"minimum": "1"})", "#/minimum"},
           {R"({"minimum": 1e300})", "#/minimum"},
           {R"({"maximum": 1.23456789012345678901})", "#/maximum"},
           {R"({"items": [{}]})", "#/items"},
           {R"({"properties": {"a": 1}})", "#/properties/a"},
           {R"({"format": "email"})", "#/format"},
           {R"_({"pattern": "(?=a)"})_", "#/pattern"},
           {R"({"items": {"$id": "x"}})", "#/items/$id"},
           {R"({"$schema": "http://json-schema.org/draft-07/schema#"})", "#/$schema"},
           {R"({"$ref": "other.json"})", "#/$ref"},
           {R"({"$ref": "#/$defs/gone"})", "#/$ref"},
           {R"({"$ref": "#"})", "#"},
           {R"({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})", "leads back"},
           {R"({"$defs": {"a": {"$ref": "#/$defs/b", "minLength": 1}, "b": {"$ref": "#/$defs/a", "maxLength": 2}}})", "leads back"},
           {R"({"enum": [{"a": 1}], "items": {"$ref": "#/enum/0"}})", "#/items/$ref"},
           {R"({"$ref": "#/$defs/a", "properties": {"b": true}, "$defs": {"a": true}})", "#/properties"},
           {R"({"$schema": "https://json-schema.org/draft/2020-12/schema", "format": "date"})", "#/format"},
       }) {
    const std::string message = refusal(schema);
    EXPECT_NE(message.find(pointer), std::string::npos) << schema << "\n" << message;
  }
}

TEST(Schema, NamesPlaceFoundAndExpected) {
  const Schema schema = compiled(R"({"type": "object", "properties": {"a/b": {"type": "array", "items": {"type": ["number", "null"]}},
      "size": {"maximum": 1.5}}, "required": ["size"], "additionalProperties": false})");
  Violation violation = violation_of(schema, R"({"size": 1, "a/b": [1, null, "x"]})");
  EXPECT_EQ(violation.code, "type");
  EXPECT_EQ(violation.path, "/a~1b/2");
  EXPECT_EQ(violation.message, "found \"x\", expected a number or null");
  violation = violation_of(schema, R"({"size": 1.5000000000000000000000001})");
  EXPECT_EQ(violation.code, "maximum");
  EXPECT_EQ(violation.message, "found 1.5000000000000000000000001, expected at most 1.5");
  violation = violation_of(schema, R"({"siz": 1})");
  EXPECT_EQ(violation.code, "additionalProperties");
  EXPECT_EQ(violation.path, "/siz");
  EXPECT_NE(violation.message.find("did you mean \"size\"?"), std::string::npos);
  violation = violation_of(schema, "{}");
  EXPECT_EQ(violation.code, "required");
  EXPECT_EQ(violation.path, "");
  violation = violation_of(schema, "{\"size\": 1,\n \"size\": 2}");
  EXPECT_EQ(violation.code, "json");
  violation = violation_of(schema, "{\"size\":\n  nul}");
  EXPECT_EQ(violation.code, "json");
  EXPECT_EQ(violation.message, "line 2, column 3: found nul where a value was expected");
  for (const char* text : {"", " ", "{\"size\": }", "[1,]"}) {
    violation = violation_of(schema, text);
    EXPECT_EQ(violation.code, "json") << text;
    EXPECT_EQ(violation.message.find("found  "), std::string::npos) << text << ": " << violation.message;
  }
}

TEST(Schema, JudgesNamesThatOnlyRequiredHasByAdditionalProperties) {
  const Schema closed = compiled(R"({"required": ["a"], "additionalProperties": false})");
  EXPECT_FALSE(valid(closed, R"({"a": 1})"));
  EXPECT_FALSE(valid(closed, "{}"));
  const Schema typed = compiled(R"({"additionalProperties": {"type": "string"}, "required": ["a"]})");
  EXPECT_FALSE(valid(typed, R"({"a": 1})"));
  EXPECT_TRUE(valid(typed, R"({"a": "1"})"));
}

TEST(Schema, FollowsRecursiveReferences) {
  const Schema schema = compiled(R"({"properties": {"next": {"$ref": "#"}, "value": {"$ref": "#/$defs/v%7E0~1"}},
      "additionalProperties": false, "$defs": {"v~0/": {"type": "integer"}, "v~/": {"type": "null"}}})");
  EXPECT_TRUE(valid(schema, R"({"next": {"next": {"value": null}}})"));
  EXPECT_EQ(violation_of(schema, R"({"next": {"next": {"value": "x"}}})").path, "/next/next/value");
}

TEST(Schema, AppliesAReferenceBesideOtherKeywords) {
  const Schema schema = compiled(R"({"$defs": {"name": {"type": "string", "maxLength": 3, "title": "Name"}},
      "properties": {"a": {"$ref": "#/$defs/name", "minLength": 2}, "b": {"$ref": "#/$defs/name", "description": "B"}}})");
  EXPECT_TRUE(valid(schema, R"({"a": "xx"})"));
  EXPECT_FALSE(valid(schema, R"({"a": "x"})"));
  EXPECT_FALSE(valid(schema, R"({"a": "xxxx"})"));
  const Node& b = *schema.root().properties[1].node;
  EXPECT_EQ(b.ref, nullptr);
  EXPECT_EQ(b.title, "Name");
  EXPECT_EQ(b.description, "B");
  EXPECT_EQ(b.max_length, 3u);
}

TEST(Schema, OutlivesItsCopies) {
  std::shared_ptr<const Node> root;
  {
    const Schema schema = compiled(R"({"properties": {"self": {"$ref": "#"}}, "additionalProperties": false})");
    root = schema.root_pointer();
  }
  EXPECT_EQ(root->properties[0].node.get(), root.get());
}

TEST(Schema, ComparesNumbersExactlyWhateverTheirSize) {
  EXPECT_TRUE(valid(compiled(R"({"type": "integer", "multipleOf": 0.5})"), "1e308"));
  EXPECT_TRUE(valid(compiled(R"({"type": "integer"})"), "1.0"));
  EXPECT_FALSE(valid(compiled(R"({"type": "integer"})"), "1.00000000000000000000000000000000001"));
  EXPECT_FALSE(valid(compiled(R"({"maximum": 9007199254740991})"), "9007199254740991.0000000000000000000001"));
  EXPECT_FALSE(valid(compiled(R"({"maximum": 1})"), "1e99999999999999999999"));
  EXPECT_TRUE(valid(compiled(R"({"exclusiveMinimum": 0})"), "1e-99999999999999999999"));
  EXPECT_TRUE(valid(compiled(R"({"minimum": -1})"), "-0e5"));
  EXPECT_TRUE(valid(compiled(R"({"multipleOf": 0.0001})"), "0.0075"));
  EXPECT_FALSE(valid(compiled(R"({"multipleOf": 0.01})"), "0.075"));
  EXPECT_TRUE(valid(compiled(R"({"multipleOf": 7})"), "7e400"));
  EXPECT_FALSE(valid(compiled(R"({"multipleOf": 7})"), "8e400"));
}

TEST(Schema, ComparesEnumsByValue) {
  const Schema schema = compiled(R"({"enum": [{"a": [1, {"b": 2, "c": null}], "d": "\u0041"}, 100, false]})");
  EXPECT_TRUE(valid(schema, R"({"d": "A", "a": [1.0, {"c": null, "b": 20e-1}]})"));
  EXPECT_TRUE(valid(schema, "1e2"));
  EXPECT_FALSE(valid(schema, "0"));
  EXPECT_EQ(violation_of(compiled(R"({"const": 1})"), "true").message, "found true, expected 1");
}

TEST(Schema, RefusesBadSyntaxOfInstances) {
  const Schema schema = compiled("true");
  for (const std::string json :
       {"", " ", "{", "[1", "[1,]", "[,1]", "[1 2]", "{\"a\" 1}", "{\"a\":1,}", "{a:1}", "01", "1.", ".5", "+1", "-", "1e", "tru",
        "truex", "nullnull", "\"a", "\"\\x\"", "\"\t\"", "1 2", "{} {}", "[1]]", "1]", "1],[2", "\"\\ud800\"", "\xff", "\"\xc0\x80\"",
        "[1}", "{\"a\":[1}}", "NaN", "Infinity", "'a'", "[1]x", "// c\n1", "\xef\xbb\xbf{}"}) {
    Violation violation;
    EXPECT_FALSE(schema.validate(json, violation)) << json;
    EXPECT_EQ(violation.code, "json") << json;
  }
  EXPECT_FALSE(valid(schema, std::string(600, '[') + std::string(600, ']')));
  EXPECT_TRUE(valid(schema, std::string(500, '[') + std::string(500, ']')));
  for (const std::string json : {" 1 ", "\n[]", "\"\\ud83d\\ude00\"", "-0", "1E+5", "{\"\":{}}", "null", "[[],{}]"}) {
    EXPECT_TRUE(valid(schema, json)) << json;
  }
}

TEST(Formats, JudgeDateTimes) {
  for (const char* good : {"2026-11-22T14:30:00Z", "0000-01-01t00:00:00.123456789012345z", "1998-12-31T23:59:60Z",
                           "1998-12-31T15:59:60.5-08:00", "2024-02-29T00:00:00+23:59"}) {
    EXPECT_TRUE(matches_format(Format::kDateTime, good)) << good;
  }
  for (const char* bad : {"2026-11-22 14:30:00Z", "2026-11-22T14:30:00", "2026-13-22T14:30:00Z", "2026-11-22T24:00:00Z",
                          "1998-12-31T22:59:60Z", "2026-11-22T14:30:00.Z", "2026-11-22T14:30:00+2400", "2023-02-29T00:00:00Z",
                          "2026-11-22T14:30:61Z", "2026-11-22T14:30:00Zx", "", "2026-11-22T14:30:00+1:00"}) {
    EXPECT_FALSE(matches_format(Format::kDateTime, bad)) << bad;
  }
  EXPECT_TRUE(matches_format(Format::kTimestamp, "2026-11-22T14:30:00.123456789Z"));
  EXPECT_FALSE(matches_format(Format::kTimestamp, "2026-11-22T14:30:00.12345678Z"));
}

TEST(Formats, JudgeUris) {
  for (const char* good : {"http://example.com", "https://u:p@[2001:db8::1]:443/a/b?c=d#e", "urn:x:y", "mailto:a@b.c", "file:///x",
                           "http://a/%20", "x://[v1.a:b]/", "http://[::ffff:1.2.3.4]/", "http://a:"}) {
    EXPECT_TRUE(is_absolute_uri(good)) << good;
  }
  for (const char* bad : {"//a/b", "/a", "a", "http://a b", "http://a/%2", "http://[::1", "http://[1:2]/", "1x://a", "http://a:b/",
                          "http://a/<x>", "http://a/\\b", "http://\xc3\xa4/", ":x", "http://a#b#c", "http://[1::2::3]/"}) {
    EXPECT_FALSE(is_absolute_uri(bad)) << bad;
  }
}

bool matches(std::string_view pattern, std::string_view text) {
  const auto compiled_pattern = compile_pattern(pattern);
  EXPECT_TRUE(compiled_pattern.has_value()) << pattern << ": " << (compiled_pattern ? "" : compiled_pattern.error().message);
  return compiled_pattern && re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), **compiled_pattern);
}

TEST(Pattern, MeansWhatEcmaMeans) {
  EXPECT_TRUE(matches("^a$", "a"));
  EXPECT_FALSE(matches("^a$", "a\n"));
  EXPECT_FALSE(matches("^a$", "b\na"));
  EXPECT_FALSE(matches("^.$", "\n"));
  EXPECT_FALSE(matches("^.$", "\r"));
  EXPECT_FALSE(matches("^.$", "\u2028"));
  EXPECT_TRUE(matches("^.$", "\u00e9"));
  EXPECT_TRUE(matches("^.$", "\U0001F600"));
  EXPECT_FALSE(matches("^\\d$", "\u0967"));
  EXPECT_FALSE(matches("^\\w$", "\u00e9"));
  EXPECT_TRUE(matches("^\\s$", "\ufeff"));
  EXPECT_TRUE(matches("^\\s$", "\u00a0"));
  EXPECT_FALSE(matches("^\\S$", "\u2029"));
  EXPECT_TRUE(matches("^[\\d\\-x]+$", "1-x"));
  EXPECT_TRUE(matches("^[\\S]$", "a"));
  EXPECT_TRUE(matches("^[^]$", "\n"));
  EXPECT_FALSE(matches("^[]$", "a"));
  EXPECT_TRUE(matches("^\\u{1f600}\\ud83d\\ude00\\x41\\cA\\0$", std::string_view("\U0001F600\U0001F600A\x01\0", 11)));
  EXPECT_TRUE(matches("(?<year>\\d{4})-(?:\\d{2,})?", "2026-"));
  EXPECT_TRUE(matches("a*?b+?c??", "b"));
  EXPECT_TRUE(matches("^\\/\\^\\$$", "/^$"));
  EXPECT_TRUE(matches("\\bx\\b", "a x b"));
  EXPECT_TRUE(matches("^(a|)$", ""));
  EXPECT_TRUE(matches("^[a-z.+*?(){}|]+$", "a.+*?(){}|"));
  EXPECT_TRUE(matches("", "anything"));
}

TEST(Pattern, RefusesWhatRe2OrEcmaWouldTakeDifferently) {
  for (const char* pattern :
       {"(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(a)\\1", "\\k<n>", "\\p{L}", "\\P{L}", "\\a", "\\Z", "\\A", "\\z", "\\Q", "\\e", "\\-",
        "(?i)a", "(?i:a)", "a**", "a+*", "*", "a{2,1}", "a{1001}", "(a{1000}){1000}", "a{,2}", "{", "}", "]", "(", ")", "[", "[b-a]",
        "[\\d-z]", "\\", "\\u12", "\\u{110000}", "\\ud800", "\\c1", "\\01", "(?<1>a)", "^*", "\\b+", "(?P<n>a)", "[[:alpha:]"}) {
    const auto result = compile_pattern(pattern);
    if (std::string_view(pattern) == "[[:alpha:]") {  // a plain class in ECMA-262
      EXPECT_TRUE(result.has_value());
      continue;
    }
    EXPECT_FALSE(result.has_value()) << pattern;
  }
}

TEST(Pattern, RunsInLinearTime) {
  const std::string text(200'000, 'a');
  EXPECT_FALSE(matches("^(a+)+$", text + "!"));
  EXPECT_FALSE(matches("^(a|a)*b$", text));
}

TEST(BigNumber, HasOneTextForOneValue) {
  for (const auto& [token, canonical] : std::vector<std::pair<std::string, std::string>>{
           {"1.0", "1"}, {"100e-2", "1"}, {"-0.0", "0"}, {"0e99", "0"}, {"1e2", "100"}, {"0.1e1", "1"}, {"1E400", "1e400"},
           {"10.0e399", "1e400"}, {"-12.5", "-12.5"}, {"123456789012345678901234567890", "12345678901234567890123456789e1"}}) {
    EXPECT_EQ(BigNumber(token).canonical(), canonical) << token;
  }
}

}  // namespace
}  // namespace utp
