// The envelope schema's patterns, by hand: what schemas/envelope/1.0.0.json says of each text.
#pragma once

#include <string_view>

namespace utp {

bool is_event_type(std::string_view text);  // "gex/levels/v1", at most 64 bytes
bool is_schema_ref(std::string_view text);  // "utp://gex/levels/1.0.0", at most 96
bool is_source_id(std::string_view text);   // "venue.us1", at most 64
bool is_realm(std::string_view text);       // also regions: "chamber_us", at most 64
bool is_symbol(std::string_view text);      // "BTC-USD" or empty, at most 64

}  // namespace utp
