#include "schema/yaml.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace utp {
namespace {

std::string json_of(const std::string& text) {
  const auto document = parse_yaml(text, "t.yaml");
  EXPECT_TRUE(document.has_value()) << (document ? "" : document.error().message);
  return document ? document->json : "";
}

std::string refusal(const std::string& text) {
  const auto document = parse_yaml(text, "t.yaml");
  EXPECT_FALSE(document.has_value()) << text;
  return document ? document->json : document.error().message;
}

TEST(Yaml, TypesScalarsByTheCoreSchema) {
  EXPECT_EQ(json_of("[1, -2, +3, 007, 0x1F, 0o17, 1.50, .5, 5., 1e3, -1.5E-3]"), "[1,-2,3,7,31,15,1.50,0.5,5,1e3,-1.5E-3]");
  EXPECT_EQ(json_of("[null, ~, Null, , true, False, yes, no, on, off]"),
            R"([null,null,null,null,true,false,"yes","no","on","off"])");
  EXPECT_EQ(json_of("['1', \"true\", 2026-11-22, 1_000, 1.2.3, 12:30, '']"),
            R"(["1","true","2026-11-22","1_000","1.2.3","12:30",""])");
  EXPECT_EQ(json_of("[!!str 1, !!int \"2\", !!float 3]"), R"(["1",2,3])");
  EXPECT_EQ(json_of("a: 123456789012345678901234567890.10"), R"({"a":123456789012345678901234567890.10})");
  EXPECT_EQ(json_of("a: |\n  line\n  two\nb:\nc: {}\n'x y': []"), R"({"a":"line\ntwo\n","b":null,"c":{},"x y":[]})");
}

TEST(Yaml, KnowsTheLineOfEveryValue) {
  const auto document = parse_yaml("# comment\nbus:\n  url: x\nlist:\n  - 1\n  - name: y\n    a/b: z\n", "t.yaml");
  ASSERT_TRUE(document.has_value());
  EXPECT_EQ(document->line_of("/bus"), 2);
  EXPECT_EQ(document->line_of("/bus/url"), 3);
  EXPECT_EQ(document->line_of("/list/0"), 5);
  EXPECT_EQ(document->line_of("/list/1/a~1b"), 7);
  EXPECT_EQ(document->line_of("/bus/gone/deeper"), 2);
  EXPECT_EQ(document->line_of("/gone"), document->line_of(""));
}

TEST(Yaml, DescribesViolationsWithFileAndLine) {
  const auto document = parse_yaml("bus:\n  url: 5\n", "chamber.yaml");
  ASSERT_TRUE(document.has_value());
  const auto schema = Schema::compile(
      R"({"properties": {"bus": {"properties": {"url": {"type": "string"}}, "additionalProperties": false}}})", "s.json");
  ASSERT_TRUE(schema.has_value());
  const Status status = document->check(*schema);
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().message, "chamber.yaml:2: /bus/url: found 5, expected a string");
}

TEST(Yaml, RefusesWithFileAndLine) {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, std::string>>{
           {"a: 1\nb: 2\na: 3", "t.yaml:3: the key 'a' stands twice (first on line 1)"},
           {"a:\n\tb: 1", "tab"},
           {"a: [1, 2", "t.yaml:"},
           {"a: 1\n---\nb: 2", "second document"},
           {",", "begins no value"},
           {"", "empty"},
           {"# only a comment\n", "empty"},
           {"a: .inf", "t.yaml:1: found .inf"},
           {"a: !custom x", "!custom"},
           {"a: !!int x", "!!int"},
           {"? [a, b]\n: 1", "key"},
           {"a: &x {b: 1}\nc:\n  <<: *x", "t.yaml:3: found the merge key"},
           {"a: *gone", "t.yaml:1"},
           {"a: b: c", "t.yaml:1"},
           {"a: 0xfffffffffffffffff", "2^64"},
           {"a: \xff", "UTF-8"},
           {std::string("a: \0b", 5), "zero byte"},
           {"a: &a [*a]", "t.yaml:1"},
       }) {
    const std::string message = refusal(text);
    EXPECT_NE(message.find(expected), std::string::npos) << text << "\n  " << message;
    EXPECT_EQ(message.find("t.yaml:"), 0u) << message;
  }
}

TEST(Yaml, RefusesAliasBombsAndDepth) {
  std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int j = 1; j < 10; ++j) bomb += "," + before;
    bomb += "]\n";
  }
  EXPECT_NE(refusal(bomb).find("aliases"), std::string::npos);
  EXPECT_NE(refusal(std::string(300, '[') + std::string(300, ']')).find("nested"), std::string::npos);
  refusal(std::string(100'000, '['));
  EXPECT_EQ(json_of("a: &x {b: 1}\nc: *x"), R"({"a":{"b":1},"c":{"b":1}})");
}

TEST(Yaml, SaysWhyAFileCannotBeRead) {
  const auto missing = load_yaml("/nonexistent/chamber.yaml");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("/nonexistent/chamber.yaml: cannot be opened"), std::string::npos);
  EXPECT_FALSE(load_yaml("/").has_value());
}

}  // namespace
}  // namespace utp
