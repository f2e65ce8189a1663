// The official JSON Schema test suite: every case is judged right or its schema was refused, never judged wrong.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "schema/json.h"
#include "schema/schema.h"

namespace utp {
namespace {

namespace fs = std::filesystem;

struct Counts {
  int right = 0;
  int refused = 0;
  int wrong = 0;
};

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

bool uses(const JsonTree& tree, const JsonValue& value, std::string_view keyword) {
  for (const JsonValue* child = tree.first(value); child != nullptr; child = tree.next(*child)) {
    if (child->key == keyword || uses(tree, *child, keyword)) return true;
  }
  return false;
}

void run_file(const fs::path& path, Formats formats, std::string_view skip_groups_with, Counts& counts) {
  JsonTree tree;
  std::string error;
  ASSERT_TRUE(tree.parse(read_text(path), error)) << path << ": " << error;
  for (const JsonValue* group = tree.first(tree.root()); group != nullptr; group = tree.next(*group)) {
    const JsonValue* schema_value = tree.member(*group, "schema");
    const JsonValue* cases = tree.member(*group, "tests");
    ASSERT_TRUE(schema_value != nullptr && cases != nullptr) << path;
    if (!skip_groups_with.empty() && uses(tree, *schema_value, skip_groups_with)) continue;
    std::string text;
    tree.write(*schema_value, text);
    const auto schema = Schema::compile(text, "suite", formats);
    for (const JsonValue* test = tree.first(*cases); test != nullptr; test = tree.next(*test)) {
      if (!schema) {
        ++counts.refused;
        EXPECT_NE(schema.error().message.find("at #"), std::string::npos) << schema.error().message;
        continue;
      }
      std::string instance;
      tree.write(*tree.member(*test, "data"), instance);
      const bool expected = tree.member(*test, "valid")->kind == JsonKind::kTrue;
      Violation violation;
      const bool valid = schema->validate(instance, violation);
      ++(valid == expected ? counts.right : counts.wrong);
      EXPECT_EQ(valid, expected) << path.filename() << ": " << tree.member(*group, "description")->text << ": "
                                 << tree.member(*test, "description")->text << "\n  schema " << text << "\n  instance "
                                 << instance << "\n  " << violation.code << " " << violation.path << " " << violation.message;
    }
  }
}

Counts run_folder(const fs::path& folder, Formats formats, std::string_view skip_groups_with = "") {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  Counts counts;
  for (const fs::path& file : files) run_file(file, formats, skip_groups_with, counts);
  return counts;
}

void report(const char* what, const Counts& counts) {
  std::printf("REPORT schema suite, %s: %d judged right, %d refused at compile, %d wrong\n", what, counts.right,
              counts.refused, counts.wrong);
}

const fs::path kSuite = fs::path(UTP_FIXTURES_DIR) / "json_schema_test_suite/draft2020-12";

TEST(SchemaSuite, JudgesRequiredCasesRightOrRefusesThem) {
  if (!fs::exists(kSuite)) GTEST_SKIP() << "no suite at " << kSuite << "; Debian's package is tested instead";
  // The required cases take `format` as the annotation that it is in the standard dialect.
  const Counts counts = run_folder(kSuite, Formats::kAnnotation);
  report("2020-12 required", counts);
  EXPECT_EQ(counts.wrong, 0);
  EXPECT_GE(counts.right, 500);
}

TEST(SchemaSuite, JudgesOptionalCasesRightOrRefusesThem) {
  if (!fs::exists(kSuite)) GTEST_SKIP() << "no suite at " << kSuite;
  const Counts counts = run_folder(kSuite / "optional", Formats::kByProfile);
  report("2020-12 optional", counts);
  EXPECT_EQ(counts.wrong, 0);
}

TEST(SchemaSuite, AssertsFormats) {
  if (!fs::exists(kSuite)) GTEST_SKIP() << "no suite at " << kSuite;
  const Counts counts = run_folder(kSuite / "optional/format", Formats::kAsserted);
  report("2020-12 formats, asserted", counts);
  EXPECT_EQ(counts.wrong, 0);
  EXPECT_GE(counts.right, 100);
}

TEST(SchemaSuite, JudgesNothingWrongInTheDefaultMode) {
  if (!fs::exists(kSuite)) GTEST_SKIP() << "no suite at " << kSuite;
  Counts counts;
  for (const char* folder : {".", "optional", "optional/format"}) {
    const Counts more = run_folder(kSuite / folder, Formats::kByProfile);
    counts.right += more.right;
    counts.refused += more.refused;
    counts.wrong += more.wrong;
  }
  report("2020-12 all, default mode", counts);
  EXPECT_EQ(counts.wrong, 0);
}

TEST(SchemaSuite, JudgesDraft7CasesThatMeanTheSame) {
  fs::path suite = "/usr/share/json-schema-test-suite/tests/draft7";
  if (!fs::exists(suite)) GTEST_SKIP() << "no suite at " << suite << "; apt-get install json-schema-test-suite";
  // A $ref hides its siblings up to draft 7. Arrays of items, definitions and the like are refused anyway.
  const Counts counts = run_folder(suite, Formats::kAnnotation, "$ref");
  report("draft 7 where it means the same", counts);
  EXPECT_EQ(counts.wrong, 0);
  EXPECT_GE(counts.right, 150);
}

}  // namespace
}  // namespace utp
