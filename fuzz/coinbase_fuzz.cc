// The Coinbase mapper, and its fast reader against the general one: where the fast one succeeds, both must agree.
#include "connector/testing/mapper_fuzz.h"
#include "connectors/coinbase/coinbase_frame.h"
#include "connectors/coinbase/coinbase_mapper.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  utp::CoinbaseReader fast_reader, general_reader;
  utp::CoinbaseFrame fast, general;
  utp::FrameError error;
  utp::fuzz_mapper(utp::make_coinbase_mapper, "-", {reinterpret_cast<const char*>(data), size}, [&](std::string_view line) {
    if (!fast_reader.read_fast(line, fast)) return;
    if (!general_reader.read_general(line, general, error) || !(fast == general)) std::abort();
  });
  return 0;
}
