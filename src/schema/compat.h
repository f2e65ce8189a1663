// What a change of a schema means for those who write and read by it: patch, minor or major, with the reasons.
//
// Writers are closed (they publish only what the schema allows), readers are tolerant (they pass over members they do not
// know, and nothing else). Two promises hold within a major version: a reader of the old version takes every document of
// the new one, and a reader of the new version takes every document that was stored under the old one. So:
//   patch  documents stay the same: titles, descriptions, examples, defaults, the order of members, reserved names
//   minor  an optional member more, or another retention on the bus
//   major  all else, in either direction: what is narrower refuses stored documents, what is wider surprises old readers
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "schema/plan.h"
#include "schema/schema.h"

namespace utp {

enum class ChangeLevel : std::uint8_t { kNone, kPatch, kMinor, kMajor };
std::string_view to_string(ChangeLevel level);  // "none", "patch", "minor", "major"

struct SchemaChange {
  ChangeLevel level = ChangeLevel::kNone;
  std::string pointer;  // into the schema: "/properties/bid"
  std::string reason;   // "now required: documents stored before lack it"
};

struct Compatibility {
  ChangeLevel level = ChangeLevel::kNone;  // the highest of the changes
  std::vector<SchemaChange> changes;       // highest first
};

Compatibility compare_schemas(const Schema& before, const Schema& after);

// utp://<name>/<major.minor.patch>
struct SchemaId {
  std::string name;
  SemanticVersion version;
};
Result<SchemaId> parse_schema_id(std::string_view id);
std::string to_string(const SemanticVersion& version);
std::string to_string(const SchemaId& id);

// Ok when the $id of `after` is a later version of the same name and the step is at least what the changes ask for (more
// is allowed: what a field means may change where no keyword does). The error says which version would be right.
Status check_version_step(const Schema& before, const Schema& after, const Compatibility& found);

}  // namespace utp
