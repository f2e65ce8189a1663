// Files that the build puts into the binary (schemas, manifests), so that it runs without an installation.
#pragma once

#include <span>
#include <string_view>

namespace utp {

struct EmbeddedFile {
  std::string_view path;  // from the source root: "schemas/quotes/2.0.0.json"
  std::string_view content;
};

namespace embedded {
std::span<const EmbeddedFile> schemas();
std::span<const EmbeddedFile> manifests();
}  // namespace embedded

}  // namespace utp
