#include "drivers/store/postgres/postgres_test_server.h"
#include "store/contract_replace.h"

namespace utp::store_test {
namespace {

using postgres_test::PostgresServer;

class PostgresHarness final : public StoreHarness {
 public:
  PostgresHarness() {
    if (missing().empty()) schema_ = PostgresServer::shared().new_schema();
  }
  ~PostgresHarness() override {
    if (!schema_.empty()) PostgresServer::shared().sql("DROP SCHEMA " + schema_ + " CASCADE");
  }
  std::string missing() const override { return PostgresServer::missing() ? PostgresServer::kMissing : ""; }
  Result<std::unique_ptr<Store>> open() override {
    UTP_TRY(const PostgresStoreOptions options, parse_postgres_url(PostgresServer::shared().url(schema_)));
    return open_postgres_store(options);
  }

 private:
  std::string schema_;
};

const auto kHarness = ::testing::Values(MakeStoreHarness([] { return std::make_unique<PostgresHarness>(); }));
const auto kName = [](const auto&) { return std::string("Server"); };
INSTANTIATE_TEST_SUITE_P(Postgres, StoreContract, kHarness, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, StoreAsOf, kHarness, kName);

}  // namespace
}  // namespace utp::store_test
