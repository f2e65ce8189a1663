#include "schema/compat.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace utp {
namespace {

Schema compiled(const std::string& text) {
  auto schema = Schema::compile(text, "test.json");
  EXPECT_TRUE(schema.has_value()) << (schema ? "" : schema.error().message);
  return schema ? *schema : Schema();
}

// A schema of one property "a", optional, closed.
std::string with_a(const std::string& a, const std::string& more = "") {
  return R"({"type": "object", "properties": {"a": )" + a + more + R"(}, "additionalProperties": false})";
}

struct Case {
  std::string before;
  std::string after;
  ChangeLevel level;
  std::string pointer;
};

TEST(Compat, JudgesEachKindOfChange) {
  using enum ChangeLevel;
  const std::string number = R"({"type": "number"})";
  const std::vector<Case> cases = {
      {with_a(number), with_a(number), kNone, ""},
      {with_a(number), with_a(number) + "\n", kPatch, ""},
      {with_a(number), with_a(R"({"type": "number", "description": "A price"})"), kPatch, "/properties/a/description"},
      {with_a(number), with_a(R"({"type": "number", "examples": [1]})"), kPatch, ""},
      {with_a(number), with_a(number, R"(, "b": {})"), kMinor, "/properties/b"},
      {with_a(number, R"(, "b": {})"), with_a(number), kMajor, "/properties/b"},
      {with_a(number), R"({"type": "object", "properties": {"a": {"type": "number"}, "b": {}}, "required": ["b"], "additionalProperties": false})", kMajor, "/properties/b"},
      {with_a(number), R"({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": false})", kMajor, "/properties/a"},
      {R"({"properties": {"a": {}}, "required": ["a"], "additionalProperties": false})", R"({"properties": {"a": {}}, "additionalProperties": false})", kMajor, "/properties/a"},
      {with_a(number), with_a(R"({"type": "integer"})"), kMajor, "/properties/a/type"},
      {with_a(R"({"type": "integer"})"), with_a(number), kMajor, "/properties/a/type"},
      {with_a(number), with_a(R"({"type": ["number", "null"]})"), kMajor, "/properties/a/type"},
      {with_a(number), with_a(R"({"type": "string"})"), kMajor, "/properties/a/type"},
      {with_a(R"({"type": ["number", "null"]})"), with_a(R"({"type": ["null", "integer", "number"]})"), kPatch, ""},
      {with_a(R"({"enum": ["x", "y"]})"), with_a(R"({"enum": ["y", "x"]})"), kPatch, "/properties/a/enum"},
      {with_a(R"({"enum": ["x"]})"), with_a(R"({"enum": ["x", "y"]})"), kMajor, "/properties/a/enum"},
      {with_a(R"({"enum": ["x", "y"]})"), with_a(R"({"enum": ["x"]})"), kMajor, "/properties/a/enum"},
      {with_a(R"({"minimum": 0})"), with_a(R"({"minimum": 1})"), kMajor, "/properties/a/minimum"},
      {with_a(R"({"minimum": 1})"), with_a(R"({"minimum": 1.0})"), kPatch, ""},
      {with_a(R"({"maxLength": 5})"), with_a(R"({"maxLength": 9})"), kMajor, "/properties/a/maxLength"},
      {with_a(R"({"maxItems": 5})"), with_a(R"({})"), kMajor, "/properties/a/maxItems"},
      {with_a(R"({"items": {"type": "string"}})"), with_a(R"({"items": {"type": "number"}})"), kMajor, "/properties/a/items/type"},
      {with_a(R"({"pattern": "a"})"), with_a(R"({"pattern": "b"})"), kMajor, "/properties/a/pattern"},
      {with_a(R"({"format": "date"})"), with_a("{}"), kMajor, "/properties/a/format"},
      {with_a("{}", R"(, "b": {})"), R"({"type": "object", "properties": {"b": {}, "a": {}}, "additionalProperties": false})", kPatch, "/properties"},
      {with_a("{}"), R"({"type": "object", "properties": {"a": {}}})", kMajor, "/additionalProperties"},
      {R"({"properties": {"a": {}}})", R"({"properties": {"a": {}, "b": {}}})", kMajor, "/properties/b"},
      {R"({"x-utp": {"table": "a"}})", R"({"x-utp": {"table": "b"}})", kMajor, "/x-utp/table"},
      {R"({"x-utp": {"explode": "a"}})", R"({"x-utp": {}})", kMajor, "/x-utp/explode"},
      {R"({"x-utp": {"retention": "1h"}})", R"({"x-utp": {"retention": "2h"}})", kMinor, "/x-utp/retention"},
      {R"({"x-utp": {"delivery": "lossless"}})", R"({"x-utp": {"delivery": "conflate"}})", kMajor, "/x-utp/delivery"},
      {R"({"x-utp": {}})", R"({"x-utp": {"reserved": ["old"]}})", kPatch, "/x-utp/reserved"},
      {R"({"x-utp": {"event_type": "a/v1"}})", R"({"x-utp": {"event_type": "a/v2"}})", kPatch, ""},
      {R"({"properties": {"n": {"$ref": "#"}}})", R"({"$defs": {"n": {"properties": {"n": {"$ref": "#"}}}}, "properties": {"n": {"$ref": "#/$defs/n"}}})", kPatch, ""},
      {"true", "false", kMajor, ""},
  };
  for (const Case& c : cases) {
    const Compatibility found = compare_schemas(compiled(c.before), compiled(c.after));
    EXPECT_EQ(to_string(found.level), to_string(c.level)) << c.before << "\n" << c.after;
    if (c.level == ChangeLevel::kNone) {
      EXPECT_TRUE(found.changes.empty());
      continue;
    }
    ASSERT_FALSE(found.changes.empty()) << c.after;
    EXPECT_EQ(found.changes[0].pointer, c.pointer) << c.after;
    EXPECT_EQ(found.changes[0].level, found.level);
  }
}

TEST(Compat, SuspectsARename) {
  const Compatibility found = compare_schemas(compiled(with_a(R"({"type": "number", "description": "Best bid"})")),
                                              compiled(R"({"type": "object", "properties": {"bid": {"type": "number", "description": "Best bid"}}, "additionalProperties": false})"));
  ASSERT_FALSE(found.changes.empty());
  EXPECT_EQ(found.changes[0].reason, "an optional member is gone (renamed to bid?): readers of the old version look for it");
}

TEST(Compat, AsksForTheRightVersion) {
  const auto versioned = [](const std::string& version, const std::string& properties) {
    return compiled(R"({"$id": "utp://a/b/)" + version + R"(", "properties": {)" + properties + R"(}, "additionalProperties": false})");
  };
  const auto step = [&](const std::string& version, const std::string& properties) {
    const Schema before = versioned("1.2.3", R"("a": {})");
    const Schema after = versioned(version, properties);
    const Status status = check_version_step(before, after, compare_schemas(before, after));
    return status ? std::string("ok") : status.error().message;
  };
  EXPECT_EQ(step("1.2.4", R"("a": {"title": "A"})"), "ok");
  EXPECT_EQ(step("1.3.0", R"("a": {}, "b": {})"), "ok");
  EXPECT_EQ(step("2.0.0", R"("a": {"type": "null"})"), "ok");
  EXPECT_EQ(step("2.0.0", R"("a": {"title": "A"})"), "ok");
  EXPECT_NE(step("1.2.4", R"("a": {}, "b": {})").find("expected 1.3.0 or later: against utp://a/b/1.2.3 it is a minor change"), std::string::npos);
  EXPECT_NE(step("1.3.0", R"("a": {"type": "null"})").find("expected 2.0.0"), std::string::npos);
  EXPECT_NE(step("1.2.3", R"("a": {"title": "A"})").find("expected 1.2.4"), std::string::npos);
  EXPECT_FALSE(parse_schema_id("utp://a/1.0").has_value());
  EXPECT_FALSE(parse_schema_id("utp://a/1.0.01").has_value());
  EXPECT_FALSE(parse_schema_id("utp:///1.0.0").has_value());
  EXPECT_FALSE(parse_schema_id("http://a/1.0.0").has_value());
  EXPECT_EQ(to_string(*parse_schema_id("utp://gex/levels/1.0.12")), "utp://gex/levels/1.0.12");
}

}  // namespace
}  // namespace utp
