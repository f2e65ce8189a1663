#include "drivers/bus/kafka/note.h"

#include <sstream>

namespace utp::kafka_bus {
namespace {

constexpr std::string_view kMark = "utp1";

}  // namespace

std::string Note::write() const {
  return std::string(kMark) + " " + std::to_string(trimmed) + " " + std::to_string(reported) + " " +
         std::to_string(acknowledged_time.ns) + (open ? " 1 " : " 0 ") + passes.write();
}

Note Note::read(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::string mark;
  Note note;
  int open = 0;
  in >> mark >> note.trimmed >> note.reported >> note.acknowledged_time.ns >> open;
  if (!in || mark != kMark) return {};
  note.open = open != 0;
  std::string passes;
  std::getline(in >> std::ws, passes);
  note.passes = Passes::read(passes);
  return note;
}

}  // namespace utp::kafka_bus
