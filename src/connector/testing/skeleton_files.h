// The files of the skeletons. {{id}} is the connector's id, {{name}} its form in C++.
#pragma once

#include <span>
#include <string_view>

namespace utp::testing {

struct SkeletonFile {
  std::string_view path;  // below the connector's folder
  std::string_view text;
  bool executable = false;
};

std::span<const SkeletonFile> cpp_skeleton();
std::span<const SkeletonFile> exec_skeleton();

}  // namespace utp::testing
