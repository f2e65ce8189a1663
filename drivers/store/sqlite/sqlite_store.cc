#include "drivers/store/sqlite/sqlite_store.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "drivers/store/sqlite/sqlite_care.h"
#include "drivers/store/sqlite/sqlite_connection.h"
#include "drivers/store/sqlite/sqlite_migration.h"
#include "drivers/store/sqlite/sqlite_query.h"
#include "drivers/store/sqlite/sqlite_replace.h"
#include "drivers/store/sqlite/sqlite_table.h"
#include "store/catalogue.h"

namespace utp {
namespace sqlite {
namespace {

// The events of a batch were decoded by another thread, on another core.
constexpr std::size_t kPrefetchEvents = 6;
constexpr std::size_t kPrefetchRows = 4;
constexpr std::size_t kPrefetchTexts = 2;

void prefetch(const Event& event) {
  const auto* bytes = reinterpret_cast<const char*>(&event);
  for (std::size_t offset = 0; offset < sizeof(Event); offset += 64) __builtin_prefetch(bytes + offset);
}

void prefetch_row(const Event& event) {
  const std::span<const Value> values = event.row.values();
  for (std::size_t i = 0; i < values.size(); i += 64 / sizeof(Value)) __builtin_prefetch(values.data() + i);
}

void prefetch_texts(const Event& event) {
  __builtin_prefetch(event.envelope.symbol.data());
  for (const Value& value : event.row.values()) {
    if (value.kind == Kind::kText) __builtin_prefetch(value.text);
  }
}

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
  const std::string& path() const { return connection_->path(); }

  Status prepare(const std::shared_ptr<const Plan>& plan) override;
  Result<WriteResult> write(std::span<const Event* const> events) override;
  Result<std::unique_ptr<Cursor>> query(const Query& query) override { return run_query(*connection_, query); }
  Result<std::vector<TableStats>> stats() override { return table_stats(*connection_); }
  Result<StoreStatus> status() override { return store_status(*connection_); }
  Status set_policy(const std::string& /*event_type*/, const TablePolicy& /*policy*/) override {
    return fail(Code::kUnsupported, connection_->path() + ": a SQLite store has no parts, compression or retention; use a store on PostgreSQL");
  }
  Result<std::vector<Finding>> verify() override { return sqlite::verify(*connection_); }
  Result<StoreContents> contents() override { return sqlite::contents(*connection_); }
  Result<std::vector<std::string>> sources(const std::string& event_type) override { return sqlite::sources(*connection_, event_type); }
  Result<std::unique_ptr<Replacement>> begin_replace(const ReplaceRange& range) override;

  // Within the transaction that the caller holds.
  Result<WriteResult> write_batch(std::span<const Event* const> events);

 private:
  struct Item {
    std::int64_t event_time;
    Hash128 key;
    TableWriter* table;
    std::uint32_t index;
  };

  TableWriter* find_table(const Event& event);
  // Fixes the realm at the first write.
  Status load_realm(std::string_view first);
  Status set_realm();
  void plan_batch(std::span<const Event* const> events, WriteResult& result);
  Status run_batch(std::span<const Event* const> events, WriteResult& result);

  std::unique_ptr<Connection> connection_;
  std::unordered_map<const Plan*, std::unique_ptr<TableWriter>> tables_;
  std::string realm_;
  bool realm_stored_ = false;
  std::vector<Item> order_;  // of the batch in hand
};

Status SqliteStore::prepare(const std::shared_ptr<const Plan>& plan) {
  if (tables_.contains(plan.get())) return {};
  UTP_CHECK(migrate(*connection_, *plan));
  if (connection_->options().read_only) return {};
  UTP_TRY(auto table, TableWriter::create(*connection_, plan));
  tables_.emplace(plan.get(), std::move(table));
  return {};
}

TableWriter* SqliteStore::find_table(const Event& event) {
  if (!event.row.has_plan()) return nullptr;
  const auto found = tables_.find(&event.row.plan());
  if (found != tables_.end()) return found->second.get();
  // Another instance of the same schema: a published schema never changes, so its columns are the same.
  for (const auto& [plan, table] : tables_) {
    if (plan->schema_ref() == event.row.plan().schema_ref() && plan->columns().size() == event.row.values().size()) return table.get();
  }
  return nullptr;
}

Status SqliteStore::load_realm(std::string_view first) {
  UTP_TRY(realm_, stored_realm(*connection_));
  realm_stored_ = !realm_.empty();
  if (!realm_stored_) realm_ = first;
  return {};
}

Status SqliteStore::set_realm() {
  UTP_TRY(const Statement statement, connection_->prepare("INSERT INTO utp_meta (name, value) VALUES ('realm', ?1)"));
  bind_text(statement.get(), 1, realm_);
  const int code = sqlite3_step(statement.get());
  if (code != SQLITE_DONE) return fail(connection_->error(code, "write the realm"));
  return {};
}

// Which event goes where, in key order (neighbours in the table share a page); what cannot go anywhere becomes an error.
void SqliteStore::plan_batch(std::span<const Event* const> events, WriteResult& result) {
  order_.clear();
  TableWriter* table = nullptr;
  bool sorted = true;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Event& event = *events[i];
    if (i + kPrefetchEvents < events.size()) prefetch(*events[i + kPrefetchEvents]);
    if (event.envelope.realm != realm_) {
      result.errors.push_back({i, realm_of_event_error(connection_->path(), realm_, event.envelope.realm)});
      continue;
    }
    if (table == nullptr || &table->plan() != &event.row.plan()) table = find_table(event);
    if (table == nullptr) {
      result.errors.push_back({i, not_prepared_error(connection_->path(), event)});
      continue;
    }
    const Item item{event.envelope.event_time.ns, event.key(), table, static_cast<std::uint32_t>(i)};
    sorted = sorted && (order_.empty() || order_.back().event_time <= item.event_time);
    order_.push_back(item);
  }
  if (sorted) return;
  std::stable_sort(order_.begin(), order_.end(), [](const Item& a, const Item& b) {
    return a.event_time != b.event_time ? a.event_time < b.event_time : a.key < b.key;
  });
}

Status SqliteStore::run_batch(std::span<const Event* const> events, WriteResult& result) {
  WriteResult::Counts* counts = nullptr;
  const TableWriter* counted = nullptr;
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const Item& item = order_[i];
    if (item.table != counted) {
      counted = item.table;
      counts = &result.by_type[counted->plan().event_type()];
    }
    if (i + kPrefetchEvents < order_.size()) prefetch(*events[order_[i + kPrefetchEvents].index]);
    if (i + kPrefetchRows < order_.size()) prefetch_row(*events[order_[i + kPrefetchRows].index]);
    if (i + kPrefetchTexts < order_.size()) prefetch_texts(*events[order_[i + kPrefetchTexts].index]);
    auto outcome = item.table->insert(*events[item.index], item.key);
    if (outcome) {
      if (*outcome == TableWriter::Outcome::kInserted) {
        ++result.inserted;
        ++counts->inserted;
      } else {
        ++result.duplicates;
        ++counts->duplicates;
      }
      continue;
    }
    Error& error = outcome.error();
    if (error.code != Code::kInvalidArgument) return fail(std::move(error));
    result.errors.push_back({item.index, std::move(error)});
  }
  for (const auto& [plan, table] : tables_) {
    const std::uint64_t rows = table->take_row_count();
    if (rows == 0) continue;
    result.by_type[plan->event_type()].rows += rows;
    UTP_CHECK(table->count_rows(rows));
  }
  if (result.inserted > 0 && !realm_stored_) UTP_CHECK(set_realm());
  return {};
}

Result<WriteResult> SqliteStore::write_batch(std::span<const Event* const> events) {
  WriteResult result;
  if (!realm_stored_) UTP_CHECK(load_realm(events.front()->envelope.realm));
  plan_batch(events, result);
  if (auto status = run_batch(events, result); !status) {
    for (const auto& [plan, table] : tables_) (void)table->take_row_count();
    return fail(std::move(status.error()));
  }
  std::sort(result.errors.begin(), result.errors.end(), [](const RowError& a, const RowError& b) { return a.index < b.index; });
  return result;
}

Result<WriteResult> SqliteStore::write(std::span<const Event* const> events) {
  if (events.empty()) return WriteResult{};
  if (connection_->options().read_only) return fail(read_only_error(connection_->path()));
  UTP_TRY(Transaction transaction, Transaction::begin(*connection_));
  UTP_TRY(WriteResult result, write_batch(events));
  UTP_CHECK(transaction.commit());
  realm_stored_ = realm_stored_ || result.inserted > 0;
  return result;
}

// Has a connection of its own, as another writer would.
class SqliteReplacement final : public Replacement {
 public:
  SqliteReplacement(std::unique_ptr<SqliteStore> store, Transaction transaction, std::map<std::string, std::uint64_t> removed)
      : store_(std::move(store)), transaction_(std::move(transaction)), removed_(std::move(removed)) {}

  const std::map<std::string, std::uint64_t>& removed() const override { return removed_; }
  Result<WriteResult> write(std::span<const Event* const> events) override {
    if (events.empty()) return WriteResult{};
    if (!transaction_) return fail(replacement_over_error(store_->path()));
    auto result = store_->write_batch(events);
    if (!result) transaction_.reset();
    return result;
  }
  Status commit() override {
    if (!transaction_) return fail(replacement_over_error(store_->path()));
    auto status = transaction_->commit();
    transaction_.reset();
    return status;
  }

 private:
  std::unique_ptr<SqliteStore> store_;
  std::optional<Transaction> transaction_;  // ends before the store does; none: it is over
  std::map<std::string, std::uint64_t> removed_;
};

Result<std::unique_ptr<Replacement>> SqliteStore::begin_replace(const ReplaceRange& range) {
  if (connection_->options().read_only) return fail(read_only_error(connection_->path()));
  UTP_TRY(auto connection, Connection::open(connection_->options()));
  Connection& own = *connection;
  auto store = std::make_unique<SqliteStore>(std::move(connection));
  for (const auto& [plan, table] : tables_) UTP_CHECK(store->prepare(table->shared_plan()));
  UTP_TRY(Transaction transaction, Transaction::begin(own));
  UTP_TRY(auto removed, remove_range(own, range));
  return std::unique_ptr<Replacement>(new SqliteReplacement(std::move(store), std::move(transaction), std::move(removed)));
}

}  // namespace
}  // namespace sqlite

Result<std::unique_ptr<Store>> open_sqlite_store(const SqliteStoreOptions& options) {
  UTP_TRY(auto connection, sqlite::Connection::open(options));
  if (!options.realm.empty()) {
    UTP_TRY(const std::string stored, sqlite::stored_realm(*connection));
    if (!stored.empty() && stored != options.realm) {
      return fail(realm_of_store_error(options.path, stored, options.realm));
    }
  }
  return std::unique_ptr<Store>(new sqlite::SqliteStore(std::move(connection)));
}

}  // namespace utp
