// Registry: the plans that a process knows. Built once at start from the embedded schemas and the directories that the
// configuration names; immutable and shared between threads afterwards.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "schema/plan.h"

namespace utp {

class Registry {
 public:
  // The canonical schemas that are built into the binary.
  static Result<Registry> builtin();

  // Adds every event schema below `directory` (<name>/<major.minor.patch>.json). A second file for the same schema_ref
  // must be identical. Errors name the file.
  Status add_directory(const std::string& directory);
  Status add(std::string_view text, std::string_view origin);

  // Null when unknown. By exact reference ("utp://quotes/2.0.0"); by event type ("quotes/v2"): the newest minor version.
  std::shared_ptr<const Plan> by_ref(std::string_view schema_ref) const;
  std::shared_ptr<const Plan> by_event_type(std::string_view event_type) const;
  std::vector<std::shared_ptr<const Plan>> all() const;  // by event type, then version

 private:
  std::map<std::string, std::shared_ptr<const Plan>, std::less<>> by_ref_;
  std::map<std::string, std::shared_ptr<const Plan>, std::less<>> by_event_type_;
};

}  // namespace utp
