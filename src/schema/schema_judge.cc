// The schema library behind a pipe, for tests in other languages.
//   schema_judge judge     reads lines {"schema": ..., "instance": "<JSON text>"}; answers each with "valid", "invalid
//                          <code> <pointer as JSON>" or "refused <message>"; with "disagree ..." where the schema makes a plan
//                          and the plan's own way of reading or writing comes to something else
//   schema_judge generate cpp|pydantic|typescript [DIRECTORY]
//                          writes the types of the built-in event schemas and of those in DIRECTORY
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "core/json_writer.h"
#include "schema/agreement.h"
#include "schema/generate.h"
#include "schema/json.h"
#include "schema/registry.h"
#include "schema/schema.h"

namespace {

int judge() {
  std::string line;
  std::string known_text;
  utp::Result<utp::Schema> known = utp::Schema::compile("true", "schema");
  std::shared_ptr<const utp::Plan> plan;
  while (std::getline(std::cin, line)) {
    utp::JsonTree tree;
    std::string error;
    if (!tree.parse(line, error)) {
      std::cout << "bad line: " << error << std::endl;
      return 1;
    }
    std::string text;
    tree.write(*tree.member(tree.root(), "schema"), text);
    if (text != known_text) {
      known = utp::Schema::compile(text, "schema");
      known_text = text;
      const auto compiled = utp::Plan::compile(text, "schema");
      plan = compiled ? *compiled : nullptr;
    }
    if (!known) {
      std::cout << "refused " << known.error().message << std::endl;
      continue;
    }
    utp::Violation violation;
    const std::string instance(tree.member(tree.root(), "instance")->text);
    const bool valid = known->validate(instance, violation);
    const std::string other = plan ? utp::disagreement(*plan, *known, instance, valid) : "";
    if (!other.empty()) {
      std::cout << "disagree " << (valid ? "valid" : "invalid " + violation.code) << ", but " << other << std::endl;
    } else if (valid) {
      std::cout << (plan ? "valid planned" : "valid") << std::endl;
    } else {
      std::string path;
      utp::append_json_string(path, violation.path);
      std::cout << "invalid " << violation.code << " " << path << std::endl;
    }
  }
  return 0;
}

int generate(const std::string& language, const char* directory) {
  auto registry = utp::Registry::builtin();
  if (registry && directory != nullptr) {
    if (const utp::Status added = registry->add_directory(directory); !added) {
      std::cerr << added.error().message << "\n";
      return 1;
    }
  }
  if (!registry) {
    std::cerr << registry.error().message << "\n";
    return 1;
  }
  const auto plans = registry->all();
  std::cout << (language == "cpp" ? utp::generate_cpp(plans)
                                  : language == "pydantic" ? utp::generate_pydantic(plans) : utp::generate_typescript(plans));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "judge" && argc == 2) return judge();
  if (command == "generate" && (argc == 3 || argc == 4)) return generate(argv[2], argc == 4 ? argv[3] : nullptr);
  std::cerr << "schema_judge judge | schema_judge generate cpp|pydantic|typescript [DIRECTORY]\n";
  return 2;
}
