// The lock of a schema directory: what is published never changes. schemas.lock beside the schemas holds the hash of
// every published file; a check in CI holds the files against it and each version against the one before.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/result.h"

namespace utp {

inline constexpr const char* kSchemaLockName = "schemas.lock";

struct SchemaCheck {
  std::size_t files = 0;                // schemas found
  std::size_t locked = 0;               // of them published, by the lock
  std::vector<std::string> findings;    // what is wrong, one line each with file, found and cure; empty = all is well
  std::vector<std::string> unlocked;    // schema files that the lock does not know, relative to the directory
  std::vector<std::string> steps;       // "quotes/2.1.0.json: minor against 2.0.0 (#/properties/x: ...)"
};

// Every <name>/<major.minor.patch>.json below `directory`: compiles (event schemas to a plan), has the $id of its place,
// is what the lock says, and steps its version as its changes against the version before it ask. Files that are not in
// the lock are findings too. Fails only when the directory or the lock cannot be read.
Result<SchemaCheck> check_schemas(const std::string& directory);

// Writes the files that are not locked yet into the lock (a new one where there is none) and returns them. Refused, with
// the first finding, when check_schemas() has findings other than files that are not locked.
Result<std::vector<std::string>> update_lock(const std::string& directory);

}  // namespace utp
