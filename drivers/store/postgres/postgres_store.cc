#include "drivers/store/postgres/postgres_store.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/log.h"
#include "drivers/store/postgres/postgres_aggregates.h"
#include "drivers/store/postgres/postgres_batch.h"
#include "drivers/store/postgres/postgres_care.h"
#include "drivers/store/postgres/postgres_connection.h"
#include "drivers/store/postgres/postgres_migration.h"
#include "drivers/store/postgres/postgres_query.h"
#include "drivers/store/postgres/postgres_replace.h"
#include "drivers/store/postgres/postgres_roles.h"
#include "drivers/store/postgres/postgres_server.h"
#include "drivers/store/postgres/postgres_symbols.h"
#include "drivers/store/postgres/postgres_table.h"
#include "store/catalogue.h"

namespace utp {
namespace postgres {
namespace {

// A COPY that ends at a duplicate leaves dead rows, so duplicates, which come in runs (a redelivery, a replay), are met by
// staging until this many batches in a row had none.
constexpr int kCleanBatches = 20;
constexpr int kConflictRetriesMax = 5;           // of a batch, after deadlocks with other writers
constexpr std::size_t kSendBytes = 256u << 10;   // the library copies each portion
constexpr std::string_view kWrite = "write", kTouch = "note what is to be aggregated";
constexpr std::int64_t kTouchedGapUs = 3'600'000'000;  // times of a batch that lie so far apart are aggregated apart

struct HashOfKey {
  std::size_t operator()(const Hash128& key) const { return key.low; }
};

void count(const Table& table, const WriteResult::Counts& more, WriteResult& result) {
  WriteResult::Counts& counts = result.by_type[table.writer->plan().event_type()];
  counts.inserted += more.inserted;
  counts.rows += more.rows;
  counts.duplicates += more.duplicates;
}

std::size_t duplicates_of(const WriteResult& result) {
  std::size_t out = 0;
  for (const auto& [event_type, counts] : result.by_type) out += counts.duplicates;
  return out;
}

void finish(WriteResult& result) {
  result.duplicates = duplicates_of(result);
  for (const auto& [event_type, counts] : result.by_type) result.inserted += counts.inserted;
  std::sort(result.errors.begin(), result.errors.end(), [](const RowError& a, const RowError& b) { return a.index < b.index; });
}

class PostgresStore final : public Store {
 public:
  explicit PostgresStore(const PostgresStoreOptions& options) : options_(options) {}

  // Does nothing while there is a connection.
  Status connect();
  Status prepare(const std::shared_ptr<const Plan>& plan) override;
  Result<WriteResult> write(std::span<const Event* const> events) override { return write_until(events, nullptr); }
  bool make_ready(std::span<const Event* const> events, std::unique_ptr<ReadyEvents>& ready) override;
  Result<WriteResult> write_ready(std::span<const Event* const> events, ReadyEvents& ready) override {
    return write_until(events, &static_cast<ReadyBatch&>(ready));
  }
  Result<std::unique_ptr<Cursor>> query(const Query& query) override {
    if (auto connection = spare_->take()) {
      auto cursor = run_query(std::move(connection), query, spare_);
      if (cursor || !cursor.error().retryable) return cursor;  // else the server may have gone meanwhile
    }
    UTP_TRY(auto connection, Connection::open(options_, Use::kRead));
    return run_query(std::move(connection), query, spare_);
  }
  Result<std::vector<TableStats>> stats() override {
    UTP_TRY(const auto connection, Connection::open(options_, Use::kRead));
    return table_stats(*connection);
  }
  Result<Maintained> maintain() override {
    UTP_TRY(auto opened, Connection::open(options_, Use::kCare));
    const std::shared_ptr<Connection> connection = std::move(opened);
    {
      const std::lock_guard lock(care_mutex_);
      if (interrupted_) return fail(Code::kCancelled, "store " + options_.place + ": interrupted");
      care_ = connection;
    }
    return postgres::maintain(*connection);
  }
  void interrupt() override {
    const std::lock_guard lock(care_mutex_);
    interrupted_ = true;
    if (const auto connection = care_.lock()) connection->cancel();
  }
  Result<StoreStatus> status() override {
    UTP_TRY(const auto connection, Connection::open(options_, Use::kRead));
    return store_status(*connection);
  }
  Status set_policy(const std::string& event_type, const TablePolicy& policy) override {
    UTP_TRY(const auto connection, Connection::open(options_, Use::kCare));
    return postgres::set_policy(*connection, event_type, policy);
  }
  Result<std::string> set_up_roles(const StoreRoles& roles, bool apply) override {
    UTP_TRY(const auto connection, Connection::open(options_, apply ? Use::kCare : Use::kRead));
    return postgres::set_up_roles(*connection, roles, apply);
  }
  Result<std::vector<Finding>> verify() override {
    UTP_TRY(const auto connection, Connection::open(options_, Use::kRead));
    return postgres::verify(*connection);
  }
  Result<StoreContents> contents() override {
    UTP_TRY(const auto connection, Connection::open(options_, Use::kRead));
    return postgres::contents(*connection);
  }
  Result<std::vector<std::string>> sources(const std::string& event_type) override {
    UTP_TRY(const auto connection, Connection::open(options_, Use::kRead));
    return postgres::sources(*connection, event_type);
  }
  Result<std::unique_ptr<Replacement>> begin_replace(const ReplaceRange& range) override;

  // Parts of a replacement, on its own store: one transaction from begin_whole() to commit_whole().
  Result<std::map<std::string, std::uint64_t>> begin_whole(const ReplaceRange& range);
  Result<WriteResult> write_whole(std::span<const Event* const> events);
  Status commit_whole() { return connection_->commit("commit the replacement"); }
  const std::string& place() const { return options_.place; }

 private:
  using Items = ReadyBatch::Items;
  using Part = ReadyBatch::Part;

  Result<WriteResult> write_until(std::span<const Event* const> events, ReadyBatch* ready);
  Status write_once(std::span<const Event* const> events, ReadyBatch* ready, WriteResult& result);
  Status transaction(std::span<const Event* const> events, ReadyBatch& batch, WriteResult& result, bool staged, bool row_by_row);
  Status make_partitions(ReadyBatch& batch);
  bool forget_partitions(ReadyBatch& batch);  // false: there are none
  std::string touch_aggregates(const Part& part) const;
  void note_symbols(ReadyBatch& batch);
  Status load_realm(const Event& first);
  Status fix_realm();
  Status write_first();
  Result<std::string> write_staged(std::span<const Event* const> events, ReadyBatch& batch, WriteResult& result, bool row_by_row, std::string_view opening);
  Status write_direct(ReadyBatch& batch, WriteResult& result, std::string_view opening);
  Status send_rows(const std::string& what, const CopyBuffer& rows);
  Status make_stage(Table& table);
  Status stage(Table& table, Items items, const CopyBuffer& rows, WriteResult& result, std::string_view opening = {});
  Status stage_by_halves(std::span<const Event* const> events, Table& table, Items items, WriteResult& result);
  std::string doing(const Table& table) const { return "write into " + table.writer->plan().table(); }

  const PostgresStoreOptions options_;
  std::unique_ptr<Connection> connection_;
  bool opened_ = false;  // the catalogue is there and fits
  TableList tables_;
  std::string realm_;
  bool realm_stored_ = false;
  int staged_batches_ = kCleanBatches;  // so many more clean ones before COPY goes straight into the table
  int stages_ = 0;                      // made on this connection
  ReadyBatch own_;                      // of a write() that nothing was made ready for
  SymbolList symbols_;
  CopyBuffer buffer_;                   // of stage_by_halves()
  const std::shared_ptr<SpareReader> spare_ = std::make_shared<SpareReader>();
  std::mutex care_mutex_;           // guards the next two
  std::weak_ptr<Connection> care_;  // of maintain()
  bool interrupted_ = false;
};

Status PostgresStore::connect() {
  // A server that writes no more without having restarted: another host of the URL may be the primary now.
  const bool read_only = connection_ && connection_->last_state() == "25006";
  if (connection_ && !connection_->broken() && !read_only) return {};
  connection_.reset();
  for (auto& [name, table] : tables_.all()) table.stage.clear();
  stages_ = 0;
  staged_batches_ = kCleanBatches;
  auto made = Connection::open(options_, options_.read_only ? Use::kRead : Use::kWrite);
  if (!made) {
    // What let us in before and does not now (a password, a certificate, pg_hba.conf) is being changed at the server: it is waited for.
    made.error().retryable |= opened_;
    return fail(std::move(made.error()));
  }
  std::unique_ptr<Connection> connection = *std::move(made);
  if (!opened_) {
    UTP_CHECK(open_catalogue(*connection, options_.read_only));
    if (!options_.realm.empty()) {
      UTP_TRY(const std::string stored, stored_realm(*connection));
      if (!stored.empty() && stored != options_.realm) return fail(realm_of_store_error(options_.place, stored, options_.realm));
    }
    opened_ = true;
  }
  symbols_.forget();
  connection_ = std::move(connection);
  return {};
}

Status PostgresStore::prepare(const std::shared_ptr<const Plan>& plan) {
  if (tables_.contains(*plan)) return {};
  Table table;
  UTP_TRY(table.writer, TableWriter::create(plan));
  UTP_CHECK(connect());
  UTP_CHECK(migrate(*connection_, *plan, options_.read_only));
  if (options_.read_only) return {};
  UTP_TRY(const bool is_partitioned, has_partitions(*connection_, *plan));
  table.copy_sql = table.writer->copy_sql(quote_identifier(plan->table()));
  table.aggregated = has_aggregates(plan->event_type());
  if (is_partitioned) table.partitions.emplace();
  tables_.add(*plan, std::move(table));
  return {};
}

bool PostgresStore::make_ready(std::span<const Event* const> events, std::unique_ptr<ReadyEvents>& ready) {
  if (events.empty() || options_.read_only) return false;
  if (!ready) ready = std::make_unique<ReadyBatch>();
  auto& batch = static_cast<ReadyBatch&>(*ready);
  batch.make(events, tables_, options_.place, nullptr);
  return batch.complete();
}

// To a COPY that is on its way.
Status PostgresStore::send_rows(const std::string& what, const CopyBuffer& rows) {
  UTP_CHECK(connection_->await_copy(what));
  for (std::span<const char> left = rows.bytes(); !left.empty();) {
    const std::size_t size = std::min(left.size(), kSendBytes);
    UTP_CHECK(connection_->copy(left.first(size), what));
    left = left.subspan(size);
  }
  return connection_->end_copy(what);
}

Status PostgresStore::make_stage(Table& table) {
  if (!table.stage.empty()) return {};
  const std::string name = "pg_temp.utp_stage_" + std::to_string(stages_);
  UTP_TRY(const Rows made, connection_->run("CREATE TEMPORARY TABLE utp_stage_" + std::to_string(stages_) + " (" + table.writer->column_definitions() +
                                                ") ON COMMIT DELETE ROWS",
                                            "make the staging table of " + table.writer->plan().table()));
  ++stages_;
  table.stage = name;
  table.stage_copy_sql = table.writer->copy_sql(name);
  return {};
}

// Through the staging table: what is in the table already is left out. `opening`: what goes before it in the same message.
Status PostgresStore::stage(Table& table, Items items, const CopyBuffer& rows, WriteResult& result, std::string_view opening) {
  const std::string& columns = table.writer->column_list();
  const std::string what = doing(table);
  UTP_CHECK(connection_->start(std::string(opening) + table.stage_copy_sql, what));
  UTP_CHECK(send_rows(what, rows));
  UTP_CHECK(connection_->finish(what));
  // Which rows they were costs the server a tenth of its time, so it is asked only where an event has several.
  const bool ask = table.writer->plan().explode().has_value();
  UTP_TRY(const Rows inserted, connection_->run("INSERT INTO " + quote_identifier(table.writer->plan().table()) + " (" + columns + ") SELECT " + columns +
                                                    " FROM " + table.stage + " ORDER BY event_time, key" + (ask ? ", row_no" : "") + " ON CONFLICT " +
                                                    std::string(primary_key_sql(table.writer->plan())) + " DO NOTHING" + (ask ? " RETURNING key" : ""),
                                                what));
  const std::size_t rows_inserted = inserted.affected();
  std::size_t events_inserted = rows_inserted;
  if (ask) {
    std::unordered_set<Hash128, HashOfKey> keys;
    for (int i = 0; i < inserted.count(); ++i) keys.insert(read_key(inserted.bytes(i, 0)));
    events_inserted = keys.size();
  }
  count(table, {events_inserted, rows_inserted, items.size() - events_inserted}, result);
  return {};
}

// Somewhere among the items is a row that the server refuses (a constraint or trigger that somebody added): halves find it.
Status PostgresStore::stage_by_halves(std::span<const Event* const> events, Table& table, Items items, WriteResult& result) {
  const std::string what = doing(table);
  UTP_TRY(const Rows emptied, connection_->run("TRUNCATE " + table.stage, what));
  UTP_TRY(const Rows saved, connection_->run("SAVEPOINT utp_rows", what));
  buffer_.cut(0);
  append_copy_head(buffer_);
  for (const auto& item : items) {
    UTP_TRY(const std::size_t rows, table.writer->append(*events[item.index], item.key, buffer_));
    (void)rows;
  }
  append_copy_end(buffer_);
  auto status = stage(table, items, buffer_, result);
  if (status) {
    UTP_TRY(const Rows released, connection_->run("RELEASE SAVEPOINT utp_rows", what));
    return {};
  }
  if (!is_row_error(connection_->last_state())) return status;
  UTP_TRY(const Rows undone, connection_->run("ROLLBACK TO SAVEPOINT utp_rows", what));
  UTP_TRY(const Rows released, connection_->run("RELEASE SAVEPOINT utp_rows", what));
  if (items.size() == 1) {
    result.errors.push_back({items[0].index, std::move(status.error())});
    return {};
  }
  UTP_CHECK(stage_by_halves(events, table, items.first(items.size() / 2), result));
  return stage_by_halves(events, table, items.subspan(items.size() / 2), result);
}

// Before the transaction: a partition that one of them makes is there for all.
Status PostgresStore::make_partitions(ReadyBatch& batch) {
  for (const Part& part : batch.parts()) {
    if (!part.table->partitions) continue;
    for (const auto& item : part.items) {
      UTP_CHECK(part.table->partitions->ensure(*connection_, part.table->writer->plan().table(), item.event_time_us));
    }
  }
  return {};
}

bool PostgresStore::forget_partitions(ReadyBatch& batch) {
  bool any = false;
  for (const Part& part : batch.parts()) {
    if (!part.table->partitions) continue;
    part.table->partitions->forget();
    any = true;
  }
  return any;
}

// "" where the table has no aggregates, or a statement that ends in ";". The items are in the order of time.
std::string PostgresStore::touch_aggregates(const Part& part) const {
  if (!part.table->aggregated) return {};
  std::vector<TimeRange> ranges;
  for (const auto& item : part.items) {
    if (ranges.empty() || item.event_time_us > ranges.back().last_us + kTouchedGapUs) ranges.push_back({item.event_time_us, item.event_time_us});
    ranges.back().last_us = item.event_time_us;
  }
  return touch_sql(part.table->writer->plan().table(), ranges) + "; ";
}

// Within the transaction of the first batch. Another writer may have been faster, with another realm: kUnavailable, and the
// repetition finds that one.
Status PostgresStore::fix_realm() {
  if (realm_stored_) return {};
  UTP_TRY(const Rows fixed, connection_->run("INSERT INTO utp_meta (name, value) VALUES ('realm', $1) ON CONFLICT DO NOTHING RETURNING name", kWrite,
                                             {text_parameter(realm_)}));
  if (fixed.count() == 1) return {};
  return fail(Code::kUnavailable, "store " + options_.place + ": another writer fixed the realm just now; it is tried again", true);
}

// In as few messages as may be: the server has nothing to do while they travel.
Status PostgresStore::transaction(std::span<const Event* const> events, ReadyBatch& batch, WriteResult& result, bool staged, bool row_by_row) {
  for (const Part& part : batch.parts()) {
    if (staged) UTP_CHECK(make_stage(*part.table));
  }
  note_symbols(batch);
  std::string opening = std::string(Connection::kBegin) + "; ";
  if (!realm_stored_ || symbols_.any_fresh() || row_by_row) {
    UTP_CHECK(connection_->begin(kWrite));
    UTP_CHECK(write_first());
    opening.clear();
  }
  if (staged) {
    UTP_TRY(const std::string closing, write_staged(events, batch, result, row_by_row, opening));
    UTP_CHECK(connection_->start(closing + "COMMIT", "commit"));
    UTP_CHECK(connection_->finish_commit("commit"));
  } else {
    UTP_CHECK(write_direct(batch, result, opening));
  }
  symbols_.committed();
  return {};
}

void PostgresStore::note_symbols(ReadyBatch& batch) {
  for (const Part& part : batch.parts()) {
    for (const std::string_view symbol : part.symbols) symbols_.note(part.table->writer->plan().table(), symbol);
  }
}

// What goes before the rows in their transaction.
Status PostgresStore::write_first() {
  UTP_CHECK(fix_realm());
  return symbols_.store(*connection_);
}

// What is left to be run in the transaction before it ends: "" or statements that end in ";".
Result<std::string> PostgresStore::write_staged(std::span<const Event* const> events, ReadyBatch& batch, WriteResult& result, bool row_by_row,
                                                std::string_view opening) {
  std::string closing;
  for (const Part& part : batch.parts()) {
    const WriteResult::Counts& counts = result.by_type[part.table->writer->plan().event_type()];
    const std::size_t inserted = counts.inserted;
    UTP_CHECK(row_by_row ? stage_by_halves(events, *part.table, part.items, result)
                         : stage(*part.table, part.items, part.rows, result, &part == batch.parts().data() ? opening : ""));
    if (counts.inserted > inserted) closing += touch_aggregates(part);
  }
  return closing;
}

// All statements up to COMMIT in one message.
Status PostgresStore::write_direct(ReadyBatch& batch, WriteResult& result, std::string_view opening) {
  std::string script(opening), what;
  for (const Part& part : batch.parts()) {
    what += what.empty() ? doing(*part.table) : ", " + part.table->writer->plan().table();
    script += part.table->copy_sql + "; " + touch_aggregates(part);
  }
  UTP_CHECK(connection_->start(script + "COMMIT", what));
  for (const Part& part : batch.parts()) {
    UTP_CHECK(send_rows(what, part.rows));
    count(*part.table, {part.items.size(), part.row_count, 0}, result);
  }
  return connection_->finish_commit(what);
}

Status PostgresStore::load_realm(const Event& first) {
  if (realm_stored_) return {};
  UTP_TRY(realm_, stored_realm(*connection_));
  realm_stored_ = !realm_.empty();
  if (!realm_stored_) realm_ = first.envelope.realm;
  return {};
}

Status PostgresStore::write_once(std::span<const Event* const> events, ReadyBatch* ready, WriteResult& result) {
  UTP_CHECK(connect());
  UTP_CHECK(load_realm(*events.front()));
  if (ready == nullptr || !ready->all_of(realm_)) {
    own_.make(events, tables_, options_.place, &realm_);
    ready = &own_;
  }
  ReadyBatch& batch = *ready;
  result = batch.left_out();
  if (batch.parts().empty()) return {};
  UTP_CHECK(make_partitions(batch));
  const auto attempt = [&](bool staged, bool row_by_row) -> Status {
    result = batch.left_out();
    auto status = transaction(events, batch, result, staged, row_by_row);
    if (!status) {
      connection_->roll_back();
      symbols_.rolled_back();
    }
    return status;
  };
  bool staged = staged_batches_ > 0;
  auto status = attempt(staged, false);
  const auto row_error = [&] { return !status && is_row_error(connection_->last_state()); };
  if (row_error() && is_check(connection_->last_state()) && forget_partitions(batch)) {  // retention may have dropped one
    UTP_CHECK(make_partitions(batch));
    status = attempt(staged, false);
  }
  if (row_error() && !staged && is_duplicate(connection_->last_state())) status = attempt(staged = true, false);
  if (row_error()) status = attempt(true, true);
  if (!status) return status;
  realm_stored_ = true;
  // Those in the table, not those in the batch.
  staged_batches_ = duplicates_of(result) > duplicates_of(batch.left_out()) ? kCleanBatches : std::max(0, staged_batches_ - 1);
  return {};
}

Result<WriteResult> PostgresStore::write_until(std::span<const Event* const> events, ReadyBatch* ready) {
  if (events.empty()) return WriteResult{};
  if (options_.read_only) return fail(read_only_error(options_.place));
  for (int conflicts = 0;; ++conflicts) {
    WriteResult result;
    auto status = write_once(events, ready, result);
    if (!status) {
      staged_batches_ = kCleanBatches;
      if (connection_ && is_conflict(connection_->last_state()) && conflicts < kConflictRetriesMax) continue;
      return fail(std::move(status.error()));
    }
    finish(result);
    return result;
  }
}

Result<std::map<std::string, std::uint64_t>> PostgresStore::begin_whole(const ReplaceRange& range) {
  UTP_CHECK(connect());
  std::set<std::string> tables;
  for (auto& [name, table] : tables_.all()) {
    tables.insert(name.first);
    UTP_CHECK(make_stage(table));
  }
  UTP_CHECK(connection_->begin("begin a replacement"));
  return remove_range(*connection_, range, std::move(tables));
}

Result<WriteResult> PostgresStore::write_whole(std::span<const Event* const> events) {
  UTP_CHECK(load_realm(*events.front()));
  own_.make(events, tables_, options_.place, &realm_);
  WriteResult result = own_.left_out();
  if (!own_.parts().empty()) {
    UTP_CHECK(make_partitions(own_));
    note_symbols(own_);
    UTP_CHECK(write_first());
    UTP_TRY(const std::string closing, write_staged(events, own_, result, true, ""));
    if (!closing.empty()) UTP_CHECK(connection_->execute(closing, kTouch));
    realm_stored_ = true;
  }
  finish(result);
  return result;
}

// Has a connection of its own, as another writer would.
class PostgresReplacement final : public Replacement {
 public:
  PostgresReplacement(std::unique_ptr<PostgresStore> store, std::map<std::string, std::uint64_t> removed)
      : store_(std::move(store)), removed_(std::move(removed)) {}

  const std::map<std::string, std::uint64_t>& removed() const override { return removed_; }
  Result<WriteResult> write(std::span<const Event* const> events) override {
    if (events.empty()) return WriteResult{};
    if (over_) return fail(replacement_over_error(store_->place()));
    auto result = store_->write_whole(events);
    over_ = !result;
    return result;
  }
  Status commit() override {
    if (std::exchange(over_, true)) return fail(replacement_over_error(store_->place()));
    return store_->commit_whole();
  }

 private:
  std::unique_ptr<PostgresStore> store_;  // its connection ends with it, and with that the transaction
  std::map<std::string, std::uint64_t> removed_;
  bool over_ = false;
};

Result<std::unique_ptr<Replacement>> PostgresStore::begin_replace(const ReplaceRange& range) {
  if (options_.read_only) return fail(read_only_error(options_.place));
  PostgresStoreOptions options = options_;
  options.statement_timeout_ms = std::max(options.statement_timeout_ms, options.query_timeout_ms);  // deletes more than a batch
  auto store = std::make_unique<PostgresStore>(options);
  for (const auto& [name, table] : tables_.all()) UTP_CHECK(store->prepare(table.writer->shared_plan()));
  UTP_TRY(auto removed, store->begin_whole(range));
  return std::unique_ptr<Replacement>(new PostgresReplacement(std::move(store), std::move(removed)));
}

}  // namespace
}  // namespace postgres

Result<std::unique_ptr<Store>> open_postgres_store(const PostgresStoreOptions& options) {
  auto store = std::make_unique<postgres::PostgresStore>(options);
  auto connected = store->connect();
  if (!connected && !(options.may_be_away && connected.error().retryable)) return fail(std::move(connected.error()));
  if (!connected) log::warn("the store is not there; it is tried again until it is", {{"error", connected.error().message}});
  return store;
}

Result<StoreStatus> look_at_postgres(const PostgresStoreOptions& options) {
  UTP_TRY(const auto connection, postgres::Connection::open(options, postgres::Use::kRead));
  return postgres::look_at_server(*connection);
}

}  // namespace utp
