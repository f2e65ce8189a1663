// What the fuzz targets of mappers share: any bytes as frames, one a line; "open" alone opens the connection anew. A mapper must
// not crash, must give a reason for each reject and gap, and what its rows say must survive writing and reading.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "connector/mapper.h"
#include "schema/registry.h"

namespace utp {

class FuzzOutput final : public MapperOutput {
 public:
  explicit FuzzOutput(std::vector<std::shared_ptr<const Plan>> plans) : plans_(std::move(plans)) {}
  bool emit(std::uint32_t route, const EventHeader&, const Row& row) override {
    const Plan& plan = *plans_.at(route);
    if (&row.plan() != &plan) std::abort();
    Violation violation;
    if (!plan.validate(row, violation)) return false;
    text_.clear();
    plan.write(row, text_);
    if (!plan.read(text_, back_, violation)) std::abort();
    return true;
  }
  void command(Command command) override {
    if (command.text.empty()) std::abort();
  }
  void reject(std::string_view code, std::string_view, std::string_view message) override {
    if (code.empty() || message.empty()) std::abort();
  }
  void gap(std::string_view, std::string_view, std::string_view reason, std::uint64_t) override {
    if (reason.empty()) std::abort();
  }
  void alive(std::uint32_t, std::string_view channel, std::string_view) override {
    if (channel.empty()) std::abort();
  }

 private:
  std::vector<std::shared_ptr<const Plan>> plans_;
  std::string text_;
  Row back_;
};

// `each` sees every line before the mapper does.
template <class Each>
void fuzz_mapper(const MapperFactory& factory, const std::string& separator, std::string_view input, Each&& each) {
  static const Registry registry = *Registry::builtin();
  MapperContext context;
  for (const char* const type : {"quotes/v2", "trades/v2", "orderbook/v1"}) context.plans.push_back(registry.by_event_type(type));
  context.symbols.set_separator(separator);
  FuzzOutput output(context.plans);
  auto mapper = factory(std::move(context));
  if (!mapper) std::abort();
  for (std::int64_t n = 1; !input.empty(); ++n) {
    const std::size_t end = std::min(input.find('\n'), input.size());
    // A copy of exactly its size, so that a read past the end is seen.
    const std::string line(input.substr(0, end));
    each(line);
    Frame frame;
    frame.receive_time = Timestamp{n};
    frame.bytes = line;
    if (line == "open") frame.kind = FrameKind::kOpen;
    (*mapper)->on_frame(frame, output);
    input.remove_prefix(std::min(end + 1, input.size()));
  }
}

}  // namespace utp
