#include <cstdlib>
#include <filesystem>

#include "bus/contract_suite.h"
#include "bus/spooled_bus.h"
#include "drivers/bus/embedded/embedded_bus.h"

namespace utp::bus_contract {
namespace {

class EmbeddedHarness : public Harness {
 public:
  EmbeddedHarness() {
    std::string name = (std::filesystem::temp_directory_path() / "utp_bus_XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) directory_ = name;
  }
  ~EmbeddedHarness() override { std::filesystem::remove_all(directory_); }
  Result<std::unique_ptr<Bus>> open() override {
    EmbeddedBusOptions options;
    options.directory = directory_ + "/bus";
    options.segment_bytes = kSegmentBytes;
    return open_embedded_bus(options);
  }
  std::vector<std::string> child_command() override {
    return {UTP_BINARY_DIR "/bin/bus_child", directory_ + "/bus", std::to_string(kSegmentBytes)};
  }
  std::uint64_t retention_slack_bytes() const override { return kSegmentBytes; }

 protected:
  static constexpr std::uint64_t kSegmentBytes = 1 << 20;  // small, so that every test crosses segments
  std::string directory_;
};

// With a disk spool in front, in a directory of its own.
class SpooledHarness final : public EmbeddedHarness {
 public:
  Result<std::unique_ptr<Bus>> open() override {
    UTP_TRY(auto bus, EmbeddedHarness::open());
    UTP_TRY(auto spool, open_embedded_bus({.directory = directory_ + "/spool", .keep_unread = true}));
    UTP_TRY(auto spooled, SpooledBus::create(std::move(bus), std::move(spool)));
    return spooled;
  }
};

template <class T>
std::unique_ptr<Harness> make_harness() {
  return std::make_unique<T>();
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Embedded, BusContract, ::testing::Values(Driver{"Embedded", make_harness<EmbeddedHarness>}),
                         [](const auto& parameter) { return parameter.param.name; });
INSTANTIATE_TEST_SUITE_P(Spooled, BusContract, ::testing::Values(Driver{"Spooled", make_harness<SpooledHarness>}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
