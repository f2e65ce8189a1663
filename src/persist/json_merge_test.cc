#include "persist/json_merge.h"

#include <gtest/gtest.h>

namespace utp {
namespace {

struct Case {
  const char* target;
  const char* patch;
  const char* result;
};

// The examples of RFC 7396, appendix A.
TEST(JsonMerge, PassesTheCasesOfTheStandard) {
  const Case cases[] = {
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b"})", R"({"a":null})", R"({})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"},
      {R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
      {R"({"a":"b"})", R"(["c"])", R"(["c"])"},
      {R"({"a":"foo"})", R"(null)", R"(null)"},
      {R"({"a":"foo"})", R"("bar")", R"("bar")"},
      {R"({"e":null})", R"({"a":1})", R"({"e":null,"a":1})"},
      {R"([1,2])", R"({"a":"b","c":null})", R"({"a":"b"})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  };
  for (const Case& c : cases) {
    const auto merged = json_merge_patch(c.target, c.patch);
    ASSERT_TRUE(merged) << merged.error().message;
    EXPECT_EQ(*merged, c.result) << c.target << " with " << c.patch;
  }
}

TEST(JsonMerge, KeepsTheExactTextOfNumbers) {
  EXPECT_EQ(*json_merge_patch(R"({"a":1.10,"b":12345678901234567890.0001,"c":1e400})", R"({"d":0.30000000000000000001})"),
            R"({"a":1.10,"b":12345678901234567890.0001,"c":1e400,"d":0.30000000000000000001})");
}

TEST(JsonMerge, NamesWhichTextIsBroken) {
  EXPECT_NE(json_merge_patch("{}", "{").error().message.find("patch"), std::string::npos);
  EXPECT_NE(json_merge_patch("{", "{}").error().message.find("message"), std::string::npos);
}

}  // namespace
}  // namespace utp
