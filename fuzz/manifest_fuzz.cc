// Any bytes as a manifest: refused with a message that names the file, or accepted and then good for everything that the
// host asks of it.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "connector/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const utp::Registry registry = *utp::Registry::builtin();
  const auto manifest = utp::parse_manifest({reinterpret_cast<const char*>(data), size}, "fuzz.yaml", registry);
  if (!manifest) {
    if (manifest.error().message.find("fuzz.yaml") == std::string::npos) std::abort();
    return 0;
  }
  if (manifest->event_types.empty()) std::abort();
  for (const auto& plan : manifest->plans()) {
    if (!plan) std::abort();
  }
  utp::SymbolMap symbols = manifest->symbol_map();
  for (const std::string& symbol : manifest->default_symbols) {
    (void)symbols.canonical(symbols.venue(symbol));
  }
  if (!manifest->wanted({}, {})) std::abort();
  (void)manifest->read_secrets([](const char*) -> const char* { return "value"; });
  return 0;
}
