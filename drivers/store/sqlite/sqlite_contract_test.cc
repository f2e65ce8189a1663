#include <filesystem>

#include "drivers/store/sqlite/sqlite_store.h"
#include "store/contract_replace.h"

namespace utp::store_test {
namespace {

class SqliteHarness final : public StoreHarness {
 public:
  SqliteHarness() {
    std::string name = (std::filesystem::temp_directory_path() / "utp_store_XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) folder_ = name;
  }
  ~SqliteHarness() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Result<std::unique_ptr<Store>> open() override { return open_sqlite_store({.path = (folder_ / "store.db").string()}); }

 private:
  std::filesystem::path folder_;
};

const auto kHarness = ::testing::Values(MakeStoreHarness([] { return std::make_unique<SqliteHarness>(); }));
const auto kName = [](const auto&) { return std::string("File"); };
INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, kHarness, kName);
INSTANTIATE_TEST_SUITE_P(Sqlite, StoreAsOf, kHarness, kName);

}  // namespace
}  // namespace utp::store_test
