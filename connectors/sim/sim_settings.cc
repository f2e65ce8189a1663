#include "connectors/sim/sim_settings.h"

#include <algorithm>

#include <fmt/format.h>
#include <simdjson.h>

namespace utp::sim {
namespace {

using Element = simdjson::dom::element;

tl::unexpected<Error> refuse(std::string_view key, std::string_view expected) {
  return fail(Code::kInvalidArgument, fmt::format("sim settings: \"{}\": expected {}", key, expected));
}

Status number(Element value, std::string_view key, double low, double high, double& out) {
  double found = 0;
  if (value.get_double().get(found) || found < low || found > high) return refuse(key, fmt::format("a number from {} to {}", low, high));
  out = found;
  return {};
}

Status whole(Element value, std::string_view key, std::uint64_t low, std::uint64_t high, std::uint64_t& out) {
  std::uint64_t found = 0;
  if (value.get_uint64().get(found) || found < low || found > high) return refuse(key, fmt::format("a whole number from {} to {}", low, high));
  out = found;
  return {};
}

Status text(Element value, std::string_view key, std::string_view expected, std::string_view& out) {
  if (value.get_string().get(out)) return refuse(key, expected);
  return {};
}

std::size_t index_of(const std::string_view* names, std::size_t first, std::size_t count, std::string_view name) {
  return static_cast<std::size_t>(std::find(names + first, names + count, name) - names);
}

std::string list_of(const std::string_view* names, std::size_t first, std::size_t count) {
  return fmt::format("{}", fmt::join(names + first, names + count, ", "));
}

Status read_rates(Element value, Settings& settings) {
  simdjson::dom::object object;
  if (value.get_object().get(object)) return refuse("rates", "an object {channel: messages a second}");
  for (const auto field : object) {
    const std::size_t channel = index_of(kChannelNames, 0, kChannels, field.key);
    if (channel == kChannels) return refuse(fmt::format("rates.{}", field.key), fmt::format("one of {}", list_of(kChannelNames, 0, kChannels)));
    UTP_CHECK(number(field.value, fmt::format("rates.{}", field.key), 0, 1e7, settings.rates[channel]));
  }
  return {};
}

Status read_planned(Element value, Settings& settings) {
  constexpr std::string_view kExpected = "a list of {\"frame\": number, \"fault\": name}";
  simdjson::dom::array list;
  if (value.get_array().get(list)) return refuse("faults.at", kExpected);
  for (const Element entry : list) {
    PlannedFault planned;
    std::string_view name;
    if (entry["frame"].get_uint64().get(planned.frame) || entry["fault"].get_string().get(name)) return refuse("faults.at", kExpected);
    const std::size_t fault = index_of(kFaultNames, 1, kFaults, name);
    if (fault == kFaults) return refuse("faults.at", fmt::format("a fault of {}; found \"{}\"", list_of(kFaultNames, 1, kFaults), name));
    planned.fault = static_cast<Fault>(fault);
    settings.planned.push_back(planned);
  }
  std::stable_sort(settings.planned.begin(), settings.planned.end(), [](const auto& a, const auto& b) { return a.frame < b.frame; });
  return {};
}

Status read_faults(Element value, Settings& settings) {
  simdjson::dom::object object;
  if (value.get_object().get(object)) return refuse("faults", "an object {fault: chance per message}");
  for (const auto field : object) {
    const std::string key = fmt::format("faults.{}", field.key);
    if (field.key == "at") {
      UTP_CHECK(read_planned(field.value, settings));
    } else if (field.key == "gap_frames") {
      std::uint64_t count = 0;
      UTP_CHECK(whole(field.value, key, 1, 100'000, count));
      settings.gap_frames = static_cast<std::uint32_t>(count);
    } else if (field.key == "stall") {
      // A chance, as for the others.
      UTP_CHECK(number(field.value, key, 0, 1, settings.fault_chance[static_cast<std::size_t>(Fault::kStall)]));
    } else if (field.key == "stall_for") {
      std::string_view duration;
      UTP_CHECK(text(field.value, key, "a duration such as \"2s\"", duration));
      const auto ns = parse_duration(duration);
      if (!ns || *ns < 0) return refuse(key, "a duration such as \"2s\"");
      settings.stall_ns = *ns;
    } else {
      const std::size_t fault = index_of(kFaultNames, 1, kFaults, field.key);
      if (fault == kFaults) return refuse(key, fmt::format("one of {}, gap_frames, stall_for, at", list_of(kFaultNames, 1, kFaults)));
      UTP_CHECK(number(field.value, key, 0, 1, settings.fault_chance[fault]));
    }
  }
  return {};
}

}  // namespace

Result<Settings> Settings::parse(std::string_view json) {
  Settings settings;
  if (json.empty()) return settings;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (const auto error = parser.parse(json.data(), json.size()).get_object().get(object)) {
    return fail(Code::kInvalidArgument, fmt::format("sim settings: an object was expected: {}", simdjson::error_message(error)));
  }
  for (const auto field : object) {
    if (field.key == "pace") {
      std::string_view pace;
      UTP_CHECK(text(field.value, "pace", "live or flat", pace));
      if (pace != "live" && pace != "flat") return refuse("pace", "live or flat");
      settings.flat = pace == "flat";
    } else if (field.key == "speed") {
      UTP_CHECK(number(field.value, "speed", 0.001, 1e6, settings.speed));
    } else if (field.key == "seed") {
      std::uint64_t seed = 0;
      UTP_CHECK(whole(field.value, "seed", 0, UINT64_MAX, seed));
      settings.seed = seed;
    } else if (field.key == "start") {
      std::string_view start;
      UTP_CHECK(text(field.value, "start", "a time such as 2026-11-22T14:30:00Z", start));
      const auto time = Timestamp::parse_lenient(start);
      if (!time || time->ns < 0) return refuse("start", "a time such as 2026-11-22T14:30:00Z");
      settings.start = *time;
    } else if (field.key == "frames") {
      UTP_CHECK(whole(field.value, "frames", 0, UINT64_MAX, settings.frames));
    } else if (field.key == "book_depth") {
      std::uint64_t depth = 0;
      UTP_CHECK(whole(field.value, "book_depth", 1, 1000, depth));
      settings.book_depth = static_cast<int>(depth);
    } else if (field.key == "rates") {
      UTP_CHECK(read_rates(field.value, settings));
    } else if (field.key == "faults") {
      UTP_CHECK(read_faults(field.value, settings));
    } else {
      return refuse(field.key, "one of pace, speed, seed, start, frames, book_depth, rates, faults");
    }
  }
  return settings;
}

}  // namespace utp::sim
