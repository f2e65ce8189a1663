// The Kraken mapper: books, checksums, both protocols.
#include "connector/testing/mapper_fuzz.h"
#include "connectors/kraken/kraken_mapper.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  utp::fuzz_mapper(utp::make_kraken_mapper, "/", {reinterpret_cast<const char*>(data), size}, [](std::string_view) {});
  return 0;
}
