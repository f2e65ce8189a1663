#include "schema/registry.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "core/embedded_file.h"
#include "schema/json.h"

namespace utp {
namespace {

// The envelope, the manifest and other documents that are no events have no event type.
bool is_event_schema(std::string_view text) {
  JsonTree tree;
  std::string error;
  if (!tree.parse(text, error)) return true;  // let the compiler say what is wrong
  const JsonValue* annotation = tree.member(tree.root(), "x-utp");
  return annotation != nullptr && tree.member(*annotation, "event_type") != nullptr;
}

// "schemas/gex/levels/1.0.0.json" is where "utp://gex/levels/1.0.0" stands.
Status check_place(const std::string& path, const Plan& plan) {
  const std::string expected = plan.schema_ref().substr(std::string_view("utp://").size()) + ".json";
  if (path.ends_with("/" + expected)) return {};
  return fail(Code::kInvalidArgument, path + ": at #/$id: found \"" + plan.schema_ref() +
                                          "\"; the file belongs at " + expected + " below the schema directory");
}

}  // namespace

Result<Registry> Registry::builtin() {
  Registry registry;
  for (const EmbeddedFile& file : embedded::schemas()) {
    if (is_event_schema(file.content)) UTP_CHECK(registry.add(file.content, file.path));
  }
  return registry;
}

Status Registry::add_directory(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    return fail(Code::kNotFound, directory + ": is no directory; expected one with schemas, <name>/<major.minor.patch>.json");
  }
  std::vector<std::string> files;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error) && it->path().extension() == ".json") files.push_back(it->path().string());
  }
  if (error) return fail(Code::kIo, directory + ": cannot be read: " + error.message());
  std::sort(files.begin(), files.end());
  for (const std::string& path : files) {
    std::ifstream in(path, std::ios::binary);
    if (!in) return fail(Code::kPermission, path + ": cannot be opened for reading");
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!is_event_schema(text)) continue;
    UTP_TRY(const auto plan, Plan::compile(text, path));
    UTP_CHECK(check_place(path, *plan));
    UTP_CHECK(add(text, path));
  }
  return {};
}

Status Registry::add(std::string_view text, std::string_view origin) {
  UTP_TRY(const std::shared_ptr<const Plan> plan, Plan::compile(text, origin));
  const auto [known, fresh] = by_ref_.emplace(plan->schema_ref(), plan);
  if (!fresh) {
    if (known->second->schema().text() == text) return {};
    return fail(Code::kAlreadyExists, std::string(origin) + ": " + plan->schema_ref() +
                                          " is already defined, differently, by " + known->second->schema().origin() +
                                          "; a published schema never changes, give this one a new version");
  }
  auto& newest = by_event_type_[plan->event_type()];
  if (newest == nullptr || newest->version() < plan->version()) newest = plan;
  return {};
}

std::shared_ptr<const Plan> Registry::by_ref(std::string_view schema_ref) const {
  const auto found = by_ref_.find(schema_ref);
  return found == by_ref_.end() ? nullptr : found->second;
}

std::shared_ptr<const Plan> Registry::by_event_type(std::string_view event_type) const {
  const auto found = by_event_type_.find(event_type);
  return found == by_event_type_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const Plan>> Registry::all() const {
  std::vector<std::shared_ptr<const Plan>> plans;
  for (const auto& [ref, plan] : by_ref_) plans.push_back(plan);
  std::sort(plans.begin(), plans.end(), [](const auto& a, const auto& b) {
    return std::forward_as_tuple(a->event_type(), a->version()) < std::forward_as_tuple(b->event_type(), b->version());
  });
  return plans;
}

}  // namespace utp
