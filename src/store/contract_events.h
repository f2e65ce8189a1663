// Events for the store's tests and benchmarks: schemas of their own, so that no test depends on the canonical ones.
#pragma once

#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.h"
#include "model/event.h"

namespace utp::store_test {

inline std::shared_ptr<const Plan> compile(std::string_view text) {
  auto plan = Plan::compile(text, "test schema");
  if (!plan) throw std::runtime_error(plan.error().message);
  return *plan;
}

// {"name": type, ...} written as a schema. `fields` is JSON of `properties`.
inline std::string schema_text(std::string_view name, std::string_view version, std::string_view fields, std::string_view extra = "",
                               std::string_view table = "") {
  const std::string major(version.substr(0, version.find('.')));
  std::string out = R"({"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"utp://)" + std::string(name) + "/" +
                    std::string(version) + R"(","x-utp":{"event_type":")" + std::string(name) + "/v" + major + R"(","table":")" +
                    std::string(table.empty() ? name : table) + R"(","delivery":"lossless","retention":"72h")" + std::string(extra) +
                    R"(},"type":"object","properties":{)" + std::string(fields) + R"(},"required":[],"additionalProperties":false})";
  return out;
}

inline constexpr std::string_view kTicksFields =
    R"("price":{"type":["number","null"]},"size":{"type":["number","null"]},"count":{"type":["integer","null"]},)"
    R"("firm":{"type":["boolean","null"]},"venue":{"type":["string","null"],"maxLength":64},)"
    R"("at":{"type":["string","null"],"format":"utp-timestamp"},)"
    R"("levels":{"type":"array","maxItems":1000,"items":{"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2}},)"
    R"("codes":{"type":"array","maxItems":100,"items":{"type":"string","maxLength":32}})";

inline std::shared_ptr<const Plan> ticks_plan() { return compile(schema_text("ticks", "1.0.0", kTicksFields)); }

inline std::shared_ptr<const Plan> stories_plan() {
  return compile(schema_text("stories", "1.0.0",
                             R"("headline":{"type":"string","maxLength":200},"tickers":{"type":"array","maxItems":256,"items":)"
                             R"({"type":"string","maxLength":64}})",
                             R"(,"explode":"tickers")"));
}

// Owns its events and their texts.
class Events {
 public:
  Event& add(const std::shared_ptr<const Plan>& plan, std::string_view symbol, std::int64_t event_time, std::uint64_t sequence = 0) {
    plans_.push_back(plan);
    Event& event = events_.emplace_back();
    event.row.reset(*plan);
    event.envelope.event_type = plan->event_type();
    event.envelope.schema_ref = plan->schema_ref();
    event.envelope.source_id = "venue.us1";
    event.envelope.realm = "test";
    event.envelope.region = "local";
    event.envelope.symbol = texts_.emplace_back(symbol);
    event.envelope.event_time = {event_time};
    event.envelope.ingest_time = {event_time + 1'000'000};
    event.envelope.sequence = sequence;
    event.envelope.checksum = 0xC0FFEE0000000000ull + static_cast<std::uint64_t>(events_.size());
    return event;
  }
  static void set_decimal(Event& event, std::string_view column, std::string_view number) {
    event.row.set(event.row.plan().column(column).value(), Decimal::parse(number).value());
  }
  static void set_text(Event& event, std::string_view column, std::string_view text) {
    event.row.copy(event.row.plan().column(column).value(), text);
  }
  static void set_texts(Event& event, std::string_view column, const std::vector<std::string>& texts) {
    const std::size_t index = event.row.plan().column(column).value();
    event.row.begin_array(index);
    for (const std::string& text : texts) event.row.push(Value::of(event.row.keep(text)));
    event.row.end_array(index, static_cast<std::uint32_t>(texts.size()));
  }
  std::vector<const Event*> pointers() const {
    std::vector<const Event*> out;
    for (const Event& event : events_) out.push_back(&event);
    return out;
  }
  Event& operator[](std::size_t index) { return events_[index]; }
  std::size_t size() const { return events_.size(); }

 private:
  std::deque<Event> events_;
  std::deque<std::string> texts_;
  std::vector<std::shared_ptr<const Plan>> plans_;
};

}  // namespace utp::store_test
