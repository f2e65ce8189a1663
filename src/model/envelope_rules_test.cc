#include "model/envelope_rules.h"

#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "core/random.h"
#include "schema/schema.h"

namespace utp {
namespace {

// The hand-written checks against the schema's own patterns, on texts near the edge of what is allowed.
TEST(EnvelopeRules, AgreeWithThePatternsOfTheSchema) {
  std::ifstream file(std::string(UTP_SOURCE_DIR) + "/schemas/envelope/1.0.0.json");
  std::stringstream text;
  text << file.rdbuf();
  const auto schema = Schema::compile(text.str(), "envelope");
  ASSERT_TRUE(schema) << schema.error().message;
  const std::map<std::string, bool (*)(std::string_view)> rules = {{"event_type", is_event_type},
                                                                   {"schema_ref", is_schema_ref},
                                                                   {"source_id", is_source_id},
                                                                   {"realm", is_realm},
                                                                   {"symbol", is_symbol}};
  const std::vector<std::string> pieces = {"a",  "quotes", "/", "v1", "v0", "v2", "utp://", "1.0.0", ".", "-", "_", "0", "10",
                                           "A",  " ",      "é", "$",  "%",  "gex/levels/v1", "utp://gex/levels/1.0.0", "coinbase.us1", ""};
  const std::uint64_t seed = 11;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  int accepted = 0;
  for (const auto& property : schema->root().properties) {
    const auto rule = rules.find(property.name);
    if (rule == rules.end()) continue;
    // A schema of this one property, so that the rest of the envelope does not matter.
    const std::string pattern = property.node->pattern_text;
    std::string escaped;
    for (const char c : pattern) escaped += c == '\\' ? std::string("\\\\") : std::string(1, c);
    const auto one = Schema::compile("{\"type\":\"string\",\"pattern\":\"" + escaped + "\",\"maxLength\":" +
                                         std::to_string(property.node->max_length) + "}", "one");
    ASSERT_TRUE(one) << one.error().message;
    for (int i = 0; i < 4'000; ++i) {
      std::string sample;
      for (std::uint64_t n = random.below(6); n > 0; --n) sample += pieces[random.below(pieces.size())];
      if (random.chance(0.05)) sample.append(random.below(100), 'x');
      Violation violation;
      const bool expected = one->validate("\"" + sample + "\"", violation);
      accepted += expected ? 1 : 0;
      EXPECT_EQ(rule->second(sample), expected) << property.name << " " << sample;
    }
  }
  EXPECT_GT(accepted, 1'000);
}

}  // namespace
}  // namespace utp
