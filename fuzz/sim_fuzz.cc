// The sim's mapper: any bytes as frames (one a line, some on a new connection). It must not crash, and every row that it emits
// must pass its schema or be refused by it, never half of both.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "connectors/sim/sim.h"
#include "schema/registry.h"

namespace {

class Output final : public utp::MapperOutput {
 public:
  explicit Output(std::vector<std::shared_ptr<const utp::Plan>> plans) : plans_(std::move(plans)) {}
  bool emit(std::uint32_t route, const utp::EventHeader& header, const utp::Row& row) override {
    const utp::Plan& plan = *plans_.at(route);
    if (&row.plan() != &plan || header.symbol.size() > (1u << 20)) std::abort();
    utp::Violation violation;
    if (!plan.validate(row, violation)) return false;
    text_.clear();
    plan.write(row, text_);
    if (!plan.read(text_, back_, violation)) std::abort();  // what passes can be written, and is valid
    return true;
  }
  void command(utp::Command) override {}
  void reject(std::string_view code, std::string_view, std::string_view) override {
    if (code.empty()) std::abort();
  }
  void gap(std::string_view, std::string_view, std::string_view reason, std::uint64_t) override {
    if (reason.empty()) std::abort();
  }
  void alive(std::uint32_t, std::string_view, std::string_view) override {}

 private:
  std::vector<std::shared_ptr<const utp::Plan>> plans_;
  std::string text_;
  utp::Row back_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const utp::Registry registry = *utp::Registry::builtin();
  utp::MapperContext context;
  for (const char* const type : {"quotes/v2", "trades/v2", "orderbook/v1", "options/v1", "news/v1", "calendar/v1"}) {
    context.plans.push_back(registry.by_event_type(type));
  }
  Output output(context.plans);
  auto mapper = utp::sim_connector().mapper(std::move(context));
  if (!mapper) std::abort();
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (std::int64_t n = 1; !rest.empty(); ++n) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    utp::Frame frame;
    frame.receive_time = {n};
    frame.bytes = rest.substr(0, end);
    if (frame.bytes == "open") frame.kind = utp::FrameKind::kOpen;
    (*mapper)->on_frame(frame, output);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return 0;
}
