#include <algorithm>
#include <map>

#include <simdjson.h>

#include "connector/exec_connector.h"

namespace utp {
namespace {

class LineMapper final : public Mapper {
 public:
  LineMapper(const Manifest& manifest, MapperContext context) : context_(std::move(context)) {
    for (std::uint32_t i = 0; i < context_.plans.size(); ++i) {
      Route& route = routes_[context_.plans[i]->event_type()];
      route.number = i;
      route.plan = context_.plans[i].get();
      for (const Manifest::Channel& channel : manifest.channels) {
        if (std::ranges::find(channel.event_types, route.plan->event_type()) != channel.event_types.end()) {
          route.channels.emplace_back(channel.name, channel.per_symbol);
        }
      }
    }
  }

  void on_frame(const Frame& frame, MapperOutput& output) override {
    if (frame.kind != FrameKind::kWs) return;
    if (frame.bytes.find_first_not_of(" \t\r") == std::string_view::npos) return;
    try {
      read(frame, output);
    } catch (const simdjson::simdjson_error& e) {
      output.reject("json", "", std::string("not a line of the event format: ") + e.what());
    }
  }

 private:
  struct Route {
    std::uint32_t number = 0;
    const Plan* plan = nullptr;
    std::vector<std::pair<std::string, bool>> channels;
  };
  struct Fields {
    std::string_view event_type, symbol, event_time, event_time_source, payload;
    bool has_symbol = false;
    std::optional<std::uint64_t> sequence;
    Quality quality = Quality::kNone;
  };
  struct Finding {
    std::string code, path, message;
  };

  void read(const Frame& frame, MapperOutput& output) {
    padded_.assign(frame.bytes);
    padded_.resize(frame.bytes.size() + simdjson::SIMDJSON_PADDING);
    auto document = parser_.iterate(padded_.data(), frame.bytes.size(), padded_.size());
    Fields fields;
    Finding finding;
    if (!read_fields(document.get_object(), fields, finding)) return output.reject(finding.code, finding.path, finding.message);
    const char* rest = nullptr;
    if (document.current_location().get(rest) == simdjson::SUCCESS) return output.reject("json", "", "text after the object");
    if (fields.event_type.empty()) return output.reject("required", "/event_type", "no event_type");
    const auto found = routes_.find(fields.event_type);
    if (found == routes_.end()) {
      return output.reject("event_type", "/event_type", "found " + std::string(fields.event_type) + ", which the manifest does not name");
    }
    const Route& route = found->second;
    EventHeader header;
    if (!fields.has_symbol) return output.reject_event(route.number, "required", "/symbol", "no symbol; \"\" where an event has none");
    header.symbol = fields.symbol;
    header.sequence = fields.sequence;
    header.quality = fields.quality;
    auto time = Timestamp::parse_canonical(fields.event_time);
    if (!time) time = Timestamp::parse_rfc3339(fields.event_time);
    if (!time) {
      return output.reject_event(route.number, "format", "/event_time",
                                 fields.event_time.empty() ? "no event_time" : "found " + std::string(fields.event_time.substr(0, 64)) + ", expected a time such as 2026-11-22T14:30:00.123456789Z");
    }
    header.event_time = *time;
    const auto source = parse_event_time_source(fields.event_time_source);
    if (!source) {
      return output.reject_event(route.number, "enum", "/event_time_source",
                                 "found \"" + std::string(fields.event_time_source.substr(0, 64)) + "\", expected venue, gateway or receipt");
    }
    header.event_time_source = *source;
    if (fields.payload.empty()) return output.reject_event(route.number, "required", "/payload", "no payload");
    row_.reset(*route.plan);
    Violation violation;
    if (!route.plan->read(fields.payload, row_, violation)) {
      return output.reject_event(route.number, violation.code, "/payload" + violation.path, violation.message);
    }
    if (!output.emit(route.number, header, row_)) return;
    for (const auto& [channel, per_symbol] : route.channels) {
      output.alive(frame.connection, channel, per_symbol ? fields.symbol : std::string_view());
    }
  }

  bool read_fields(simdjson::ondemand::object object, Fields& fields, Finding& finding) {
    for (auto field : object) {
      const std::string_view key = field.unescaped_key();
      auto value = field.value();
      if (key == "event_type") {
        fields.event_type = value.get_string();
      } else if (key == "symbol") {
        fields.symbol = value.get_string();
        fields.has_symbol = true;
      } else if (key == "event_time") {
        fields.event_time = value.get_string();
      } else if (key == "event_time_source") {
        fields.event_time_source = value.get_string();
      } else if (key == "sequence") {
        if (!value.is_null()) fields.sequence = value.get_uint64().value();
        if (fields.sequence.value_or(0) > kSequenceMax) {
          finding = {"maximum", "/sequence", "found " + std::to_string(*fields.sequence) + ", expected at most 2^53-1"};
          return false;
        }
      } else if (key == "quality") {
        for (auto item : value.get_array()) {
          const std::string_view name = item.get_string();
          const auto flag = parse_quality(name);
          if (!flag) {
            finding = {"enum", "/quality", "found \"" + std::string(name.substr(0, 64)) + "\", which is no quality"};
            return false;
          }
          fields.quality = fields.quality | *flag;
        }
      } else if (key == "payload") {
        fields.payload = simdjson::to_json_string(value.get_object()).value();
      } else {
        finding = {"additionalProperties", "/" + std::string(key.substr(0, 64)),
                   "expected event_type, symbol, event_time, event_time_source, sequence, quality, payload"};
        return false;
      }
    }
    return true;
  }

  MapperContext context_;
  std::map<std::string, Route, std::less<>> routes_;
  simdjson::ondemand::parser parser_;
  std::string padded_;
  Row row_;
};

}  // namespace

Result<std::unique_ptr<Mapper>> make_line_mapper(const Manifest& manifest, MapperContext context) {
  return std::make_unique<LineMapper>(manifest, std::move(context));
}

}  // namespace utp
