#include "schema/lock.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "core/hash.h"
#include "schema/compat.h"
#include "schema/json.h"
#include "schema/plan.h"
#include "schema/schema.h"

namespace utp {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHeader =
    "# Published schemas: XXH3-128 of the file, file. A published file never changes; a change is a new version beside it.\n"
    "# Written by `utp schema lock`, held by `utp schema check`.\n";

using Lock = std::map<std::string, std::string>;  // file -> hash

Result<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Code::kIo, path.string() + ": cannot be opened for reading");
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) return fail(Code::kIo, path.string() + ": cannot be read");
  return text;
}

Result<std::optional<Lock>> read_lock(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::optional<Lock>();
  UTP_TRY(const std::string text, read_file(path));
  Lock lock;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const auto refuse = [&](const std::string& what) {
      return fail(Code::kCorrupt, path.string() + ":" + std::to_string(number) + ": " + what +
                                      "; restore the lock from version control");
    };
    const std::size_t space = line.find("  ");
    if (space != 32 || line.find_first_not_of("0123456789abcdef") != 32 || line.size() < 35) {
      return refuse("found \"" + shorten(line, 80) + "\", expected 32 hexadecimal digits, two spaces and a file");
    }
    if (!lock.emplace(line.substr(34), line.substr(0, 32)).second) return refuse("the file " + line.substr(34) + " stands twice");
  }
  return std::optional<Lock>(std::move(lock));
}

struct Version {
  SemanticVersion number;
  std::string file;
  Schema schema;
};

class Checker {
 public:
  explicit Checker(fs::path directory) : directory_(std::move(directory)) {}

  Result<SchemaCheck> run() {
    std::error_code error;
    if (!fs::is_directory(directory_, error)) {
      return fail(Code::kNotFound, directory_.string() +
                                       ": is no directory; expected one with schemas, <name>/<major.minor.patch>.json");
    }
    UTP_TRY(const auto lock, read_lock(directory_ / kSchemaLockName));
    if (lock) lock_ = *lock;
    std::vector<std::string> files;
    for (fs::recursive_directory_iterator it(directory_, error), end; !error && it != end; it.increment(error)) {
      if (it->is_regular_file(error) && it->path().extension() == ".json") {
        files.push_back(fs::relative(it->path(), directory_).generic_string());
      }
    }
    if (error) return fail(Code::kIo, directory_.string() + ": cannot be read: " + error.message());
    std::sort(files.begin(), files.end());
    check_.files = files.size();
    for (const std::string& file : files) UTP_CHECK(check_file(file));
    for (const auto& [file, hash] : lock_) {
      if (!std::binary_search(files.begin(), files.end(), file)) {
        find(file, "is published (it is in the lock) but not there; restore it, stored events refer to it");
      }
    }
    for (auto& [name, versions] : names_) check_steps(versions);
    return std::move(check_);
  }

 private:
  void find(const std::string& file, const std::string& message) {
    check_.findings.push_back((directory_ / file).string() + ": " + message);
  }

  Status check_file(const std::string& file) {
    UTP_TRY(const std::string text, read_file(directory_ / file));
    if (const auto known = lock_.find(file); known == lock_.end()) {
      check_.unlocked.push_back(file);
    } else {
      ++check_.locked;
      const std::string hash = hash128(text).to_hex();
      if (hash != known->second) {
        find(file, "differs from what was published (hash " + hash + ", the lock has " + known->second +
                       "); restore it, and put the change into a new version beside it");
      }
    }
    auto schema = Schema::compile(text, (directory_ / file).string());
    if (!schema) {
      check_.findings.push_back(schema.error().message);
      return {};
    }
    const auto id = parse_schema_id(schema->id());
    const std::string expected = "utp://" + file.substr(0, file.size() - 5);
    if (!id || schema->id() != expected) {
      find(file, "at #/$id: found \"" + schema->id() + "\", expected \"" + expected + "\" by its place");
      return {};
    }
    if (schema->root().x_utp.find("\"event_type\"") != std::string::npos) {
      if (const auto plan = Plan::compile(text, (directory_ / file).string()); !plan) {
        check_.findings.push_back(plan.error().message);
        return {};
      }
    }
    names_[id->name].push_back({id->version, file, std::move(*schema)});
    return {};
  }

  // Each version against the highest one below it.
  void check_steps(std::vector<Version>& versions) {
    std::sort(versions.begin(), versions.end(), [](const Version& a, const Version& b) { return a.number < b.number; });
    for (std::size_t i = 1; i < versions.size(); ++i) {
      const Version& before = versions[i - 1];
      const Version& after = versions[i];
      const Compatibility found = compare_schemas(before.schema, after.schema);
      std::string step = after.file + ": " + std::string(to_string(found.level)) + " against " + to_string(before.number);
      if (!found.changes.empty()) step += " (#" + found.changes[0].pointer + ": " + found.changes[0].reason + ")";
      check_.steps.push_back(std::move(step));
      if (const Status status = check_version_step(before.schema, after.schema, found); !status) {
        check_.findings.push_back(status.error().message);
      }
    }
  }

  fs::path directory_;
  Lock lock_;
  SchemaCheck check_;
  std::map<std::string, std::vector<Version>> names_;
};

void add_unlocked_findings(const std::string& directory, SchemaCheck& check) {
  for (const std::string& file : check.unlocked) {
    check.findings.push_back((fs::path(directory) / file).string() + ": is not in " + kSchemaLockName +
                             "; when it is ready to be published: utp schema lock " + directory);
  }
}

}  // namespace

Result<SchemaCheck> check_schemas(const std::string& directory) {
  UTP_TRY(SchemaCheck check, Checker(directory).run());
  add_unlocked_findings(directory, check);
  return check;
}

Result<std::vector<std::string>> update_lock(const std::string& directory) {
  UTP_TRY(SchemaCheck check, Checker(directory).run());
  if (!check.findings.empty()) {
    return fail(
        Code::kInvalidArgument,
        check.findings[0] +
            (check.findings.size() > 1 ? " (and " + std::to_string(check.findings.size() - 1) + " more findings)"
                                       : "") +
            "; nothing was locked");
  }
  const fs::path path = fs::path(directory) / kSchemaLockName;
  UTP_TRY(auto lock, read_lock(path));
  if (!lock) lock.emplace();
  for (const std::string& file : check.unlocked) {
    UTP_TRY(const std::string text, read_file(fs::path(directory) / file));
    (*lock)[file] = hash128(text).to_hex();
  }
  std::string text(kHeader);
  for (const auto& [file, hash] : *lock) text += hash + "  " + file + "\n";
  const fs::path fresh = path.string() + ".new";
  {
    std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
    out << text;
    out.flush();
    if (!out)
      return fail(Code::kIo,
                  fresh.string() + ": cannot be written; check the permissions and free space of the directory");
  }
  std::error_code error;
  fs::rename(fresh, path, error);
  if (error) return fail(Code::kIo, path.string() + ": cannot be replaced: " + error.message());
  return check.unlocked;
}

}  // namespace utp
