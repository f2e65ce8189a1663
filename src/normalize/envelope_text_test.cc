#include "model/envelope_text.h"

#include <gtest/gtest.h>

#include "normalize/normalizer.h"
#include "schema/random_rows.h"
#include "schema/registry.h"

namespace utp {
namespace {

TEST(EnvelopeText, IsWhatTheNormalizerWrites) {
  constexpr std::uint64_t kSeed = 11;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  const Registry registry = Registry::builtin().value();
  RandomRows random(kSeed, true);
  NormalizerOptions options;
  options.source_id = "sim.us1";
  Normalizer normalizer(options);
  EventReader reader(registry);
  int written = 0;
  for (const auto& plan : registry.all()) {
    const std::uint32_t route = normalizer.add_route(plan);
    for (int i = 0; i < 50; ++i) {
      Row row;
      random.fill(*plan, row);
      EventHeader header;
      header.symbol = i % 2 == 0 ? "" : "BTC-USD";
      header.event_time = {1'700'000'000'000'000'001 + i % 7};
      header.event_time_source = static_cast<EventTimeSource>(i % 3);
      header.quality = static_cast<Quality>(random.random().below(1u << kQualityCount));
      EventBatch batch;
      Violation violation;
      if (!normalizer.normalize(route, header, row, header.event_time + i, batch, violation))
        continue;  // not every random row is valid
      const std::string_view bytes = batch.value(batch.entries()[0]);
      Event event;
      ASSERT_TRUE(reader.read(bytes, event, violation)) << violation.message;
      std::string again = "before ";
      append_envelope(event.envelope, std::nullopt, again);
      ASSERT_EQ(again, "before " + std::string(bytes));
      ++written;
    }
  }
  EXPECT_GT(written, 500);
}

TEST(EnvelopeText, APayloadOfOtherBytesKeepsTheEventsChecksumAndKey) {
  const Registry registry = Registry::builtin().value();
  EventReader reader(registry);
  Envelope envelope;
  envelope.event_type = "quotes/v2";
  envelope.schema_ref = "utp://quotes/2.0.0";
  envelope.source_id = "sim.us1";
  envelope.realm = "replay_1";
  envelope.region = "replay";
  envelope.symbol = "BTC-USD";
  envelope.event_time = envelope.ingest_time = envelope.watermark = {1'700'000'000'000'000'001};
  envelope.checksum = 0x0123456789abcdef;
  envelope.payload = R"({"bid":1.5})";
  const auto verdict = [&](std::optional<std::uint64_t> checksum) {
    std::string bytes;
    append_envelope(envelope, checksum, bytes);
    std::string out;
    for (int i = 0; i < 2; ++i) {  // the second time such envelopes are known
      Event event;
      Violation violation;
      const bool good = reader.read(bytes, event, violation);
      EXPECT_TRUE(!good || event.key() == idempotency_key(envelope));
      out = good ? "ok" : violation.code + " " + violation.path;
    }
    return out;
  };
  EXPECT_EQ(verdict(hash64(envelope.payload)), "ok");
  EXPECT_EQ(verdict(hash64(envelope.payload) + 1), "checksum /checksum");
  EXPECT_EQ(verdict(std::nullopt), "checksum /checksum");
  std::string bytes;
  append_envelope(envelope, 1, bytes);
  Event event;
  Violation violation;
  bytes.replace(bytes.find("0000000000000001"), 16, "000000000000000G");
  EXPECT_FALSE(reader.read(bytes, event, violation));
  EXPECT_EQ(violation.code + " " + violation.path, "pattern /payload_checksum");
}

}  // namespace
}  // namespace utp
