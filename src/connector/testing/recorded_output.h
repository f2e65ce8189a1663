// RecordedOutput: what a mapper puts out, as JSON lines. For tests of mappers.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "connector/mapper.h"
#include "core/json_writer.h"
#include "schema/registry.h"

namespace utp {

class RecordedOutput final : public MapperOutput {
 public:
  explicit RecordedOutput(std::vector<std::shared_ptr<const Plan>> plans) : plans_(std::move(plans)) {}

  // {"event_type","symbol","event_time","event_time_source","sequence"?,"quality"?,"payload"} · {"reject":{...}} · ...
  std::vector<std::string> lines;
  std::map<std::string, std::uint64_t> events;  // by "<event type> <symbol>"
  std::map<std::string, std::uint64_t> rejects;  // by code
  std::map<std::pair<std::string, std::string>, std::uint64_t> alive_calls;  // by channel and symbol
  std::vector<std::string> refusals;
  std::uint64_t gaps = 0;
  std::uint64_t commands = 0;
  bool keep_lines = true;

  bool emit(std::uint32_t route, const EventHeader& header, const Row& row) override {
    const Plan& plan = *plans_.at(route);
    Violation violation;
    if (!plan.validate(row, violation)) {
      reject("schema", violation.path, violation.message);
      return false;
    }
    ++events[plan.event_type() + " " + std::string(header.symbol)];
    if (!keep_lines) return true;
    std::string payload;
    plan.write(row, payload);
    JsonWriter json(line());
    json.begin_object().field("event_type", plan.event_type()).field("symbol", header.symbol);
    json.field("event_time", header.event_time).field("event_time_source", to_string(header.event_time_source));
    if (header.sequence) json.field("sequence", *header.sequence);
    if (header.quality != Quality::kNone) {
      json.key("quality").begin_array();
      for (unsigned bit = 0; bit < kQualityCount; ++bit) {
        if (has(header.quality, static_cast<Quality>(1u << bit))) json.value(quality_name(bit));
      }
      json.end_array();
    }
    json.key("payload").raw(payload).end_object();
    return true;
  }

  void command(Command command) override {
    ++commands;
    static constexpr const char* kKinds[] = {"send", "request", "reconnect"};
    JsonWriter json(line());
    json.begin_object().key("command").begin_object().field("kind", kKinds[static_cast<int>(command.kind)]);
    json.field("connection", command.connection).field("text", command.text).end_object().end_object();
  }

  void reject(std::string_view code, std::string_view path, std::string_view message) override {
    ++rejects[std::string(code)];
    JsonWriter json(line());
    json.begin_object().key("reject").begin_object().field("code", code).field("path", path).field("message", message);
    json.end_object().end_object();
  }

  void gap(std::string_view event_type, std::string_view symbol, std::string_view reason, std::uint64_t missed) override {
    ++gaps;
    JsonWriter json(line());
    json.begin_object().key("gap").begin_object().field("event_type", event_type).field("symbol", symbol);
    json.field("reason", reason).field("missed", missed).end_object().end_object();
  }

  void alive(std::uint32_t, std::string_view channel, std::string_view symbol) override {
    ++alive_calls[{std::string(channel), std::string(symbol)}];
  }

  void refused(std::uint32_t, std::string_view reason) override { refusals.emplace_back(reason); }

 private:
  std::string& line() { return lines.emplace_back(); }

  std::vector<std::shared_ptr<const Plan>> plans_;
};

}  // namespace utp
