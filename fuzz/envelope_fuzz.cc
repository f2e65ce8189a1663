// An envelope's bytes: a reader that has learned what envelopes of this source look like and the general way must agree; what
// is read can be written, and reads back the same.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "normalize/normalizer.h"
#include "schema/random_rows.h"
#include "schema/registry.h"

namespace {

using namespace utp;

void require(bool holds, const char* what, const std::string& detail = "") {
  if (holds) return;
  std::fprintf(stderr, "%s %s\n", what, detail.c_str());
  std::abort();
}

std::string text_of(const Event& event) {
  std::string text;
  event.row.plan().write(event.row, text);
  return text;
}

struct Fixture {
  Fixture() : registry(Registry::builtin().value()), reader(registry) {
    // One envelope of each plan, so that their beginnings are known to the fast way.
    RandomRows rows(1, false);
    Normalizer normalizer({.source_id = "sim.us1"});
    Row row;
    Violation violation;
    Event event;
    for (const auto& plan : registry.all()) {
      rows.fill(*plan, row);
      EventBatch batch;
      require(normalizer.normalize(normalizer.add_route(plan), {"BTC-USD", Timestamp::from_seconds(1'700'000'000)}, row,
                                   Timestamp::from_seconds(1'700'000'001), batch, violation), "cannot normalize", violation.message);
      require(reader.read(batch.value(batch.entries()[0]), event, violation), "cannot read", violation.message);
    }
  }
  Registry registry;
  EventReader reader;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Fixture fixture;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Event quick;
  Event sure;
  Violation a;
  Violation b;
  const bool read = fixture.reader.read(bytes, quick, a);
  require(read == fixture.reader.read_general(bytes, sure, b), "the two ways disagree:", a.message + " / " + b.message);
  if (!read) {
    require(!a.code.empty() && a.code == b.code && a.path == b.path, "different violations:", a.code + " / " + b.code);
  } else {
    require(quick.key() == sure.key() && quick.envelope.payload == sure.envelope.payload, "different events");
    const std::string text = text_of(quick);
    require(text == text_of(sure), "different rows:", text);
    Violation violation;
    require(quick.row.plan().validate(quick.row, violation), "what was read is not valid:", violation.path + violation.message);
    Row again;
    require(quick.row.plan().read(text, again, violation), "what was written cannot be read:", violation.message);
  }
  // The payload's two ways on the bare bytes.
  for (const auto& plan : fixture.registry.all()) {
    Row fast;
    Row general;
    Violation violation;
    if (!plan->read_fast(bytes, fast)) continue;
    require(plan->read_general(bytes, general, violation), "the fast way took what is not valid:", violation.message);
    std::string x;
    std::string y;
    plan->write(fast, x);
    plan->write(general, y);
    require(x == y, "different rows:", x + " / " + y);
  }
  return 0;
}
