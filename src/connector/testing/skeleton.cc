#include "connector/testing/skeleton.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "connector/testing/skeleton_files.h"

namespace utp {
namespace {

namespace fs = std::filesystem;

std::string filled(std::string_view text, const std::string& id, const std::string& name) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text.substr(at).starts_with("{{id}}")) {
      out += id;
      at += 6;
    } else if (text.substr(at).starts_with("{{name}}")) {
      out += name;
      at += 8;
    } else {
      out += text[at++];
    }
  }
  return out;
}

}  // namespace

Result<std::vector<std::string>> write_skeleton(const std::string& parent, const std::string& id, SkeletonKind kind) {
  const auto is_word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  if (id.empty() || id.size() > 64 || !std::ranges::all_of(id, is_word) || id.front() < 'a' || id.front() > 'z') {
    return fail(Code::kInvalidArgument, "connector id \"" + id + "\": expected 1 to 64 of a-z 0-9 _ -, a letter first");
  }
  std::string name = id;
  std::ranges::replace(name, '-', '_');
  const fs::path folder = fs::path(parent) / id;
  std::error_code error;
  if (fs::exists(folder, error)) return fail(Code::kAlreadyExists, folder.string() + " is there already; choose another id or remove it");
  std::vector<std::string> written;
  for (const testing::SkeletonFile& file : kind == SkeletonKind::kCpp ? testing::cpp_skeleton() : testing::exec_skeleton()) {
    const fs::path path = folder / filled(file.path, id, name);
    fs::create_directories(path.parent_path(), error);
    if (error) return fail(Code::kIo, path.parent_path().string() + " cannot be made: " + error.message());
    std::ofstream out(path, std::ios::binary);
    out << filled(file.text, id, name);
    out.close();
    if (!out) return fail(Code::kIo, path.string() + " cannot be written: " + std::strerror(errno));
    if (file.executable) fs::permissions(path, fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec, fs::perm_options::add, error);
    written.push_back(path.string());
  }
  return written;
}

}  // namespace utp
