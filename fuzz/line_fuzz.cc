// The mapper of exec: connectors, whose lines any program may have written.
#include "connector/exec_connector.h"
#include "connector/testing/mapper_fuzz.h"

namespace {

constexpr const char* kManifest = R"(manifest: 1
id: fuzz
version: 0.1.0
title: Lines from anywhere
entry: exec:true
event_types:
  - event_type: quotes/v2
    schema_ref: utp://quotes/2.0.0
  - event_type: trades/v2
    schema_ref: utp://trades/2.0.0
channels:
  - name: quotes
    event_types: [quotes/v2]
  - name: trades
    event_types: [trades/v2]
symbols:
  default: [A-USD]
)";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const utp::Registry registry = *utp::Registry::builtin();
  static const utp::Manifest manifest = *utp::parse_manifest(kManifest, "fuzz.yaml", registry);
  const auto make = [](utp::MapperContext context) { return utp::make_line_mapper(manifest, std::move(context)); };
  utp::fuzz_mapper(make, "-", {reinterpret_cast<const char*>(data), size}, [](std::string_view) {});
  return 0;
}
