#include "core/json_writer.h"

#include <limits>

#include <gtest/gtest.h>

namespace utp {
namespace {

TEST(JsonWriter, WritesNestedValuesWithCommasWhereTheyBelong) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("a", 1).key("b").begin_array().value("x").value(true).null().end_array();
  json.field("c", Decimal(15, -1)).field("d", std::numeric_limits<double>::quiet_NaN()).end_object();
  EXPECT_EQ(out, R"({"a":1,"b":["x",true,null],"c":1.5,"d":null})");
}

TEST(JsonWriter, EscapesControlsAndReplacesBytesThatAreNoUtf8) {
  std::string out;
  append_json_string(out, std::string("a\"\\\n\x01\xFFé", 8));
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\u0001\xEF\xBF\xBDé\"");
}

}  // namespace
}  // namespace utp
