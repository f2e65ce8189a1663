// Schema: a compiled JSON Schema 2020-12 document in the profile of this project (docs/schemas.md), and the general
// validator: any legal JSON, any shape, over simdjson. Events take the faster way of a Plan (schema/plan.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "schema/node.h"

namespace utp {

// Why a document was refused. `path` is a JSON Pointer into the instance, "" for the whole of it.
struct Violation {
  std::string code;     // the keyword that failed ("type", "maximum", "required", "format", ...), or "json" for bad syntax
  std::string path;
  std::string message;  // what was found, what was expected
};

// What the keyword `format` does. In the standard dialect it is an annotation unless a validator is told otherwise; in
// our profile it is asserted.
enum class Formats : std::uint8_t {
  // Asserted where the schema is ours ($id "utp://...", an x-utp annotation, or no $schema); in a schema that names the
  // standard dialect and nothing of ours, `format` is refused, because its author may mean either.
  kByProfile,
  kAsserted,
  kAnnotation,  // of any name
};

class Schema {
 public:
  // `text` is the schema file's bytes; `origin` (a file name) goes into errors. A keyword outside the profile, an unknown
  // format, a pattern that cannot run in linear time, a remote $ref, a number that Decimal cannot hold: refused, with
  // the JSON Pointer in the message.
  static Result<Schema> compile(std::string_view text, std::string_view origin, Formats formats = Formats::kByProfile);

  // True when `json` (UTF-8, need not be padded) is valid. Two members of one name in an object, lone surrogates and
  // nesting deeper than 512 levels are bad syntax here (code "json"). Thread-safe; allocates a parser per thread.
  bool validate(std::string_view json, Violation& violation) const;

  const Node& root() const { return *root_; }
  const std::shared_ptr<const Node>& root_pointer() const { return root_; }
  const std::string& id() const { return id_; }        // $id, "" when absent
  const std::string& origin() const { return origin_; }
  const std::string& text() const { return text_; }

 private:
  std::shared_ptr<const Node> root_;
  std::string id_;
  std::string origin_;
  std::string text_;
};

}  // namespace utp
