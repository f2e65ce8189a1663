// YAML files (manifests, configuration) as JSON with line numbers, so that one schema language checks everything and an
// error names file and line.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "core/result.h"
#include "schema/schema.h"

namespace utp {

class YamlDocument {
 public:
  std::string file;  // as given; goes into errors
  std::string json;  // the document; members in the file's order, numbers with the digits they were written with

  // The 1-based line of the value at a JSON Pointer (of a member: of its key); where there is none, of the nearest value
  // above it.
  int line_of(std::string_view pointer) const;

  // "chamber.yaml:12: /bus/url: found a number, expected a string"
  std::string describe(const Violation& violation) const;
  // The same form for a finding of the caller's own.
  std::string describe(std::string_view pointer, std::string_view message) const;

  // Ok when the document is valid; the error is describe() of the first violation.
  Status check(const Schema& schema) const;

 private:
  friend Result<YamlDocument> parse_yaml(std::string_view text, const std::string& file);
  std::map<std::string, int, std::less<>> lines_;
};

// One YAML document, typed by the core schema of YAML 1.2 (quoted scalars are strings; yes, no, on, off are too).
// Refused, with file and line: bad syntax, more than one document, an empty one, duplicate keys, keys that are no
// scalars, merge keys, tags of other types, .inf and .nan, aliases that repeat more than 100,000 values in all, files
// above 4 MiB, bytes that are no UTF-8.
Result<YamlDocument> load_yaml(const std::string& path);
Result<YamlDocument> parse_yaml(std::string_view text, const std::string& file);

}  // namespace utp
