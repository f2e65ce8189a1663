#include "drivers/store/postgres/postgres_test_database.h"
#include "store/contract_replace.h"

namespace utp::store_test {
namespace {

using postgres_test::Database;

class PostgresHarness final : public StoreHarness {
 public:
  explicit PostgresHarness(const Database& database) : database_(database) {}
  ~PostgresHarness() override {
    if (!database_.schema.empty()) database_.sql("DROP SCHEMA " + database_.schema + " CASCADE");
  }
  std::string missing() const override { return database_.missing; }
  Result<std::unique_ptr<Store>> open() override {
    UTP_TRY(const PostgresStoreOptions options, parse_postgres_url(database_.in_schema()));
    return open_postgres_store(options);
  }

 private:
  const Database database_;
};

const auto kHarness = ::testing::Values(MakeStoreHarness([] { return std::make_unique<PostgresHarness>(postgres_test::plain_database()); }),
                                        MakeStoreHarness([] { return std::make_unique<PostgresHarness>(postgres_test::timescale_database()); }));
const auto kName = [](const auto& i) { return std::string(i.index == 0 ? "Server" : "Timescale"); };
INSTANTIATE_TEST_SUITE_P(Postgres, StoreContract, kHarness, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, StoreAsOf, kHarness, kName);

}  // namespace
}  // namespace utp::store_test
