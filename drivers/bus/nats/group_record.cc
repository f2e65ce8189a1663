#include "drivers/bus/nats/group_record.h"

#include "drivers/bus/nats/names.h"

namespace utp::nats_bus {
namespace {

// Calls take(name, value) for each word "name=value"; the last name, `rest`, takes everything behind it.
template <class Take>
void read_words(std::string_view text, std::string_view rest, Take take) {
  while (!text.empty()) {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return;
    const std::string_view name = text.substr(0, equals);
    text.remove_prefix(equals + 1);
    const std::size_t end = name == rest ? text.size() : std::min(text.find(' '), text.size());
    take(name, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

std::string GroupRecord::write() const {
  return "acknowledged=" + write_position(acknowledged) + " owner=" + owner + " epoch=" + epoch + " trimmed=" + std::to_string(trimmed) +
         " unreported=" + std::to_string(unreported) + " passes=" + passes.write();
}

GroupRecord GroupRecord::read(std::string_view text) {
  GroupRecord record;
  read_words(text, "passes", [&](std::string_view name, std::string_view value) {
    if (name == "acknowledged") record.acknowledged = read_position(value).value_or(0);
    if (name == "owner") record.owner = value;
    if (name == "epoch") record.epoch = value;
    if (name == "trimmed") record.trimmed = read_number(value).value_or(0);
    if (name == "unreported") record.unreported = read_number(value).value_or(0);
    if (name == "passes") record.passes = Passes::read(value);
  });
  return record;
}

std::string MemberRecord::write() const {
  std::string out = "lease_ns=" + std::to_string(lease_ns) + " patterns=";
  for (std::size_t i = 0; i < patterns.size(); ++i) out += (i == 0 ? "" : " ") + patterns[i];
  return out;
}

MemberRecord MemberRecord::read(std::string_view text) {
  MemberRecord record;
  read_words(text, "patterns", [&](std::string_view name, std::string_view value) {
    if (name == "lease_ns") record.lease_ns = static_cast<std::int64_t>(read_number(value).value_or(0));
    if (name != "patterns") return;
    for (std::size_t at = 0; at < value.size();) {
      const std::size_t end = std::min(value.find(' ', at), value.size());
      record.patterns.emplace_back(value.substr(at, end - at));
      at = end + 1;
    }
  });
  return record;
}

}  // namespace utp::nats_bus
