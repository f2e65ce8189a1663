#include <cstdlib>
#include <filesystem>

#include "bus/contract_suite.h"
#include "drivers/bus/embedded/embedded_bus.h"

namespace utp::bus_contract {
namespace {

class EmbeddedHarness final : public Harness {
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

 private:
  static constexpr std::uint64_t kSegmentBytes = 1 << 20;  // small, so that every test crosses segments
  std::string directory_;
};

std::unique_ptr<Harness> make_harness() { return std::make_unique<EmbeddedHarness>(); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Embedded, BusContract, ::testing::Values(Driver{"Embedded", make_harness}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
