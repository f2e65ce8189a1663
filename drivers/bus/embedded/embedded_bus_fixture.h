// What the tests of the embedded bus share: buses in a fresh folder, and ways to break them.
#pragma once

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "bus/testing/bus_fixture.h"
#include "drivers/bus/embedded/embedded_bus.h"

namespace utp::embedded_bus_test {

using namespace bus_test;
namespace fs = std::filesystem;

inline constexpr std::int64_t kHour = 3'600'000'000'000;

class BusFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "utp_embedded_bus_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    log::set_level(log::Level::kError);  // recoveries are many here
  }
  void TearDown() override { fs::remove_all(root_); }

  EmbeddedBusOptions options(const std::string& name = "bus", const std::string& boot = "boot-1") {
    EmbeddedBusOptions o;
    o.directory = (root_ / name).string();
    o.boot_id = boot;
    o.cursor_sync_ns = kHour;  // nothing is synced behind a test's back
    o.trim_every_ns = 0;
    return o;
  }
  std::unique_ptr<Bus> open(const EmbeddedBusOptions& o) { return made(open_embedded_bus(o)); }
  static std::unique_ptr<Publisher> publisher(Bus& bus, Durability durability, std::int64_t interval_ns = kHour) {
    return made(bus.publisher({durability, interval_ns}));
  }
  static std::vector<Message> read_all(Bus& bus) {
    std::vector<Message> all;
    const auto subscription = made(bus.subscribe({.patterns = {kTopic}}));
    while (subscription) {
      const auto got = subscription->poll(1000, 1 << 20, 0);
      if (!got) ADD_FAILURE() << got.error().message;
      if (!got || got->empty()) break;
      for (const InMessage& m : *got) all.push_back(kept(m));
    }
    return all;
  }
  static void expect_numbers(const std::vector<Message>& messages, int count) {
    ASSERT_EQ(messages.size(), static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(messages[static_cast<std::size_t>(i)].number, i);
      if (i == 0) continue;
      ASSERT_GT(messages[static_cast<std::size_t>(i)].position, messages[static_cast<std::size_t>(i) - 1].position);
    }
  }
  fs::path partition(const std::string& name = "bus") const { return root_ / name / "topics" / kTopic / "0000"; }
  std::size_t segments(const std::string& name = "bus") const {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator(partition(name))) count += entry.path().extension() == ".mdb" ? 1 : 0;
    return count;
  }
  void copy(const std::string& from, const std::string& to) {
    fs::copy(root_ / from, root_ / to, fs::copy_options::recursive);
  }

  fs::path root_;
};

inline std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Files of this process end here: stands for a disk that is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace utp::embedded_bus_test
