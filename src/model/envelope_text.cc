#include "model/envelope_text.h"

namespace utp {
namespace {

void append_time(Timestamp time, std::string& out) {
  char text[Timestamp::kTextSize];
  out.append(text, static_cast<std::size_t>(time.write(text) - text));
}

void append_checksum(std::uint64_t checksum, std::string& out) {
  char text[16];
  write_hex64(text, checksum);
  out.append(text, sizeof text);
}

}  // namespace

void append_envelope(const Envelope& e, std::optional<std::uint64_t> payload_checksum, std::string& out) {
  out.append("{\"v\":1,\"event_type\":\"").append(e.event_type).append("\",\"schema_ref\":\"").append(e.schema_ref);
  out.append("\",\"source_id\":\"").append(e.source_id).append("\",\"realm\":\"").append(e.realm);
  out.append("\",\"region\":\"").append(e.region).append("\",\"symbol\":\"").append(e.symbol).append("\",\"event_time\":\"");
  append_time(e.event_time, out);
  out.append("\",\"event_time_source\":\"").append(to_string(e.event_time_source)).append("\",\"ingest_time\":\"");
  append_time(e.ingest_time, out);
  out.append("\",\"sequence\":").append(std::to_string(e.sequence)).append(",\"watermark\":\"");
  append_time(e.watermark, out);
  out += "\",\"checksum\":\"";
  append_checksum(e.checksum, out);
  if (payload_checksum) {
    out += "\",\"payload_checksum\":\"";
    append_checksum(*payload_checksum, out);
  }
  out += "\",";
  const char* before = "\"quality\":[\"";
  for (unsigned bit = 0; bit < kQualityCount; ++bit) {
    if (!has(e.quality, static_cast<Quality>(1u << bit))) continue;
    out.append(before).append(quality_name(bit));
    before = "\",\"";
  }
  if (e.quality != Quality::kNone) out += "\"],";
  out.append("\"payload\":").append(e.payload).append("}");
}

}  // namespace utp
