#include "schema/lock.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "schema/registry.h"

namespace utp {
namespace {

namespace fs = std::filesystem;

class SchemaLock : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "utp_lock_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((folder_ / file).parent_path());
    std::ofstream(folder_ / file, std::ios::binary) << text;
  }
  static std::string event(const std::string& version, const std::string& properties) {
    return R"({"$id": "utp://ticks/)" + version + R"(", "x-utp": {"event_type": "ticks/v)" + version.substr(0, 1) +
           R"(", "table": "ticks"}, "type": "object", "properties": {)" + properties + R"(}, "additionalProperties": false})";
  }
  std::string first_finding() const {
    const auto check = check_schemas(folder_.string());
    EXPECT_TRUE(check.has_value()) << (check ? "" : check.error().message);
    if (!check) return check.error().message;
    return check->findings.empty() ? "" : check->findings[0];
  }
  void expect_finding(const std::string& part) const {
    const std::string finding = first_finding();
    EXPECT_NE(finding.find(part), std::string::npos) << "found: " << finding;
  }

  fs::path folder_;
  const std::string a_ = R"("a": {"type": "number"})";
};

TEST_F(SchemaLock, LocksThenHoldsEveryFile) {
  write("ticks/1.0.0.json", event("1.0.0", a_));
  expect_finding("1.0.0.json: is not in schemas.lock");
  const auto locked = update_lock(folder_.string());
  ASSERT_TRUE(locked.has_value()) << locked.error().message;
  EXPECT_EQ(*locked, std::vector<std::string>{"ticks/1.0.0.json"});
  EXPECT_EQ(first_finding(), "");
  EXPECT_TRUE(update_lock(folder_.string())->empty());

  write("ticks/1.0.0.json", event("1.0.0", a_) + "\n");
  expect_finding("differs from what was published");
  EXPECT_FALSE(update_lock(folder_.string()).has_value());
  fs::remove(folder_ / "ticks/1.0.0.json");
  expect_finding("is published (it is in the lock) but not there");
}

TEST_F(SchemaLock, HoldsVersionsAgainstThoseBefore) {
  write("ticks/1.0.0.json", event("1.0.0", a_));
  ASSERT_TRUE(update_lock(folder_.string()).has_value());
  write("ticks/1.0.1.json", event("1.0.1", a_ + R"(, "b": {"type": "string"})"));
  expect_finding("expected 1.1.0 or later");
  const auto refused = update_lock(folder_.string());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("nothing was locked"), std::string::npos);
  fs::remove(folder_ / "ticks/1.0.1.json");
  write("ticks/1.1.0.json", event("1.1.0", a_ + R"(, "b": {"type": "string"})"));
  EXPECT_TRUE(update_lock(folder_.string()).has_value());
  const auto check = check_schemas(folder_.string());
  ASSERT_TRUE(check.has_value());
  EXPECT_TRUE(check->findings.empty());
  EXPECT_EQ(check->files, 2u);
  EXPECT_EQ(check->locked, 2u);
  ASSERT_EQ(check->steps.size(), 1u);
  EXPECT_EQ(check->steps[0].find("ticks/1.1.0.json: minor against 1.0.0 (#/properties/b"), 0u) << check->steps[0];
}

TEST_F(SchemaLock, FindsWhatCannotBePublished) {
  write("ticks/1.0.0.json", event("1.0.1", a_));
  expect_finding("found \"utp://ticks/1.0.1\", expected \"utp://ticks/1.0.0\" by its place");
  write("ticks/1.0.0.json", "{\"contains\": 1}");
  expect_finding("at #/contains");
  write("ticks/1.0.0.json", event("1.0.0", R"("a": {"type": "object"})"));
  expect_finding("/properties/a");
  write("ticks/1.0.0.json", "{");
  expect_finding("no JSON");
}

TEST_F(SchemaLock, SaysWhatIsWrongWithTheLock) {
  write("schemas.lock", "# fine\nnot a hash  file\n");
  const auto check = check_schemas(folder_.string());
  ASSERT_FALSE(check.has_value());
  EXPECT_NE(check.error().message.find("schemas.lock:2: found"), std::string::npos);
  EXPECT_FALSE(check_schemas((folder_ / "gone").string()).has_value());
}

TEST_F(SchemaLock, HoldsForThePublishedSchemas) {
  const auto check = check_schemas(UTP_SOURCE_DIR "/schemas");
  ASSERT_TRUE(check.has_value()) << check.error().message;
  for (const std::string& finding : check->findings) ADD_FAILURE() << finding;
  EXPECT_GE(check->files, 17u);
}

TEST_F(SchemaLock, RegistryTakesSchemasOfADirectory) {
  auto registry = Registry::builtin();
  ASSERT_TRUE(registry.has_value()) << registry.error().message;
  EXPECT_GE(registry->all().size(), 16u);
  ASSERT_NE(registry->by_event_type("quotes/v2"), nullptr);
  EXPECT_EQ(registry->by_event_type("quotes/v2")->schema_ref(), "utp://quotes/2.0.0");
  EXPECT_EQ(registry->by_event_type("quotes/v9"), nullptr);

  write("ticks/1.0.0.json", event("1.0.0", a_));
  write("ticks/1.10.0.json", event("1.10.0", a_ + R"(, "c": {"type": "string"})"));
  write("ticks/1.9.0.json", event("1.9.0", a_ + R"(, "b": {"type": "string"})"));
  write("notes/1.0.0.json", R"({"$id": "utp://notes/1.0.0", "type": "object"})");
  ASSERT_TRUE(registry->add_directory(folder_.string()).has_value());
  EXPECT_EQ(registry->by_event_type("ticks/v1")->schema_ref(), "utp://ticks/1.10.0");
  EXPECT_NE(registry->by_ref("utp://ticks/1.0.0"), nullptr);
  EXPECT_EQ(registry->by_ref("utp://notes/1.0.0"), nullptr);
  EXPECT_TRUE(registry->add_directory(folder_.string()).has_value()) << "the same files again are no conflict";

  write("ticks/1.0.0.json", event("1.0.0", R"("a": {"type": "string"})"));
  const Status conflict = registry->add_directory(folder_.string());
  ASSERT_FALSE(conflict.has_value());
  EXPECT_NE(conflict.error().message.find("already defined, differently"), std::string::npos);
  write("ticks/1.0.0.json", event("1.9.0", a_));
  EXPECT_NE(registry->add_directory(folder_.string()).error().message.find("belongs at ticks/1.9.0.json"), std::string::npos);
  EXPECT_EQ(registry->add_directory("/nonexistent").error().code, Code::kNotFound);
}

}  // namespace
}  // namespace utp
