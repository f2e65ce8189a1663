// An envelope as bytes, for events that have been events before: out of a store, for one. New ones are the normalizer's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/envelope.h"

namespace utp {

// Appends the message, byte for byte as the normalizer writes one. The texts must be what model/envelope_rules.h allows.
// `payload_checksum`: XXH3-64 of `payload`, given where these are not the bytes that `checksum` was computed from.
void append_envelope(const Envelope& envelope, std::optional<std::uint64_t> payload_checksum, std::string& out);

}  // namespace utp
