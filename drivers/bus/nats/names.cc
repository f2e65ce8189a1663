#include "drivers/bus/nats/names.h"

#include <algorithm>
#include <charconv>

namespace utp::nats_bus {
namespace {

constexpr std::string_view kGroupKeys = "group.";

std::string encode(std::string_view text, char mark, bool (*is_plain)(char)) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_plain(c)) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += mark;
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string decode(std::string_view text, char mark) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == mark && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::optional<std::uint64_t> read_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return {};
  return value;
}

std::optional<std::uint64_t> json_number(std::string_view json, std::string_view name) {
  std::size_t at = json.find(name);
  if (at == std::string_view::npos) return {};
  at = json.find_first_of("0123456789", at + name.size());
  if (at == std::string_view::npos) return {};
  return read_number(json.substr(at, json.find_first_not_of("0123456789", at) - at));
}

std::string json_text(std::string_view json, std::string_view name) {
  const std::size_t at = json.find(name);
  if (at == std::string_view::npos) return {};
  const std::size_t begin = json.find('"', at + name.size());
  if (begin == std::string_view::npos) return {};
  return std::string(json.substr(begin + 1, json.find('"', begin + 1) - begin - 1));
}

std::string write_position(std::uint64_t position) {
  return std::to_string(generation_of(position)) + "-" + std::to_string(sequence_of(position));
}

std::optional<std::uint64_t> read_position(std::string_view text) {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return {};
  const auto generation = read_number(text.substr(0, dash));
  const auto sequence = read_number(text.substr(dash + 1));
  if (!generation || !sequence || *sequence > kSequenceMax || *generation >> (64 - kSequenceBits) != 0) return {};
  return position_at(*generation, *sequence);
}

std::string encode_token(std::string_view text) {
  return encode(text, '=', [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}
std::string decode_token(std::string_view text) { return decode(text, '='); }
std::string encode_header(std::string_view text) {
  return encode(text, '%', [](char c) { return c > ' ' && c < 127 && c != '%'; });
}
std::string decode_header(std::string_view text) { return decode(text, '%'); }

std::string Names::stream(std::string_view topic, std::uint32_t partition) const {
  std::string name = prefix_ + "-" + std::to_string(partition) + "-" + std::string(topic);
  std::replace(name.begin(), name.end(), '.', '+');
  return name;
}

std::optional<TopicPartition> Names::read_stream(std::string_view name) const {
  if (!name.starts_with(prefix_ + "-")) return {};
  name.remove_prefix(prefix_.size() + 1);
  const std::size_t dash = name.find('-');
  if (dash == std::string_view::npos) return {};
  const auto partition = read_number(name.substr(0, dash));
  if (!partition || *partition > UINT32_MAX || dash + 1 == name.size()) return {};
  TopicPartition result{std::string(name.substr(dash + 1)), static_cast<std::uint32_t>(*partition)};
  std::replace(result.topic.begin(), result.topic.end(), '+', '.');
  return result;
}

std::string Names::subject(std::string_view topic, std::uint32_t partition) const {
  return prefix_ + "." + std::to_string(partition) + "." + std::string(topic);
}

std::string lineage_key(std::string_view topic, std::uint32_t partition) {
  return "lineage." + std::to_string(partition) + "." + std::string(topic);
}

std::string group_prefix(std::string_view group) { return std::string(kGroupKeys) + encode_token(group) + "."; }

std::string record_key(std::string_view group, std::string_view topic, std::uint32_t partition) {
  return group_prefix(group) + "progress." + std::to_string(partition) + "." + std::string(topic);
}

std::string member_key(std::string_view group, std::string_view member) {
  return group_prefix(group) + "member." + encode_token(member);
}

std::optional<GroupKey> read_group_key(std::string_view key) {
  constexpr std::string_view kMember = "member.";
  constexpr std::string_view kProgress = "progress.";
  if (!key.starts_with(kGroupKeys)) return {};
  key.remove_prefix(kGroupKeys.size());
  const std::size_t dot = key.find('.');
  if (dot == std::string_view::npos) return {};
  GroupKey result;
  result.group = decode_token(key.substr(0, dot));
  key.remove_prefix(dot + 1);
  if (key.starts_with(kMember)) {
    result.member = decode_token(key.substr(kMember.size()));
    return result;
  }
  if (!key.starts_with(kProgress)) return {};
  key.remove_prefix(kProgress.size());
  const std::size_t end = key.find('.');
  if (end == std::string_view::npos) return {};
  const auto partition = read_number(key.substr(0, end));
  if (!partition || *partition > UINT32_MAX) return {};
  result.partition = static_cast<std::uint32_t>(*partition);
  result.topic = key.substr(end + 1);
  return result;
}

}  // namespace utp::nats_bus
