// A schema, a line "%%", an instance. The schema is compiled and judges the instance; where it makes a plan, the plan's ways
// of reading and writing must come to the same.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "schema/agreement.h"
#include "schema/compat.h"
#include "schema/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kSeparator = "\n%%\n";
  const std::size_t split = text.find(kSeparator);
  const std::string_view schema_text = text.substr(0, split);
  const std::string_view instance = split == std::string_view::npos ? text : text.substr(split + kSeparator.size());
  const auto schema = utp::Schema::compile(schema_text, "fuzz");
  if (!schema) {
    if (schema.error().message.empty()) std::abort();
    return 0;
  }
  if (!utp::compare_schemas(*schema, *schema).changes.empty()) std::abort();
  utp::Violation violation;
  const bool valid = schema->validate(instance, violation);
  const auto plan = utp::Plan::compile(schema_text, "fuzz");
  if (!plan) return 0;
  const std::string problem = utp::disagreement(**plan, *schema, instance, valid);
  if (!problem.empty()) {
    std::fprintf(stderr, "the general validator says %s, but %s\n", valid ? "valid" : violation.code.c_str(), problem.c_str());
    std::abort();
  }
  return 0;
}
