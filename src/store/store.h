// Store: the port that every database implements (drivers/store/<x>/). One contract suite (store/contract_suite.h) runs
// against every driver.
//
// Contract
// - write() is one transaction: when it returns, every event is committed, was there already (same idempotency key), or is
//   named in WriteResult::errors. An Error means that nothing was written.
// - One realm per store: the first write fixes it, another realm is refused per row.
// - Tables are made and extended from plans: prepare() creates a table or adds the columns that a newer minor version has;
//   it never drops or retypes one. Migrations go forward only.
// - Decimals of more than 15 significant digits are stored as the nearest double with quality `rounded`.
//
// Threads: one thread at a time, but for what says otherwise; open a second Store for a second thread.
#pragma once

#include <cstdint>
#include <map>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "model/event.h"

namespace utp {

struct RowError {
  std::size_t index = 0;  // into the span given to write()
  Error error;
};

struct WriteResult {
  struct Counts {
    std::size_t inserted = 0;
    std::size_t rows = 0;  // of the inserted: an exploded event has several
    std::size_t duplicates = 0;
  };
  std::size_t inserted = 0;  // events
  std::size_t duplicates = 0;
  std::map<std::string, Counts, std::less<>> by_type;  // the same by event type; those without either may be missing
  std::vector<RowError> errors;
};

// Events in the form in which a store writes them; see Store::make_ready(). Refers to the events.
class ReadyEvents {
 public:
  virtual ~ReadyEvents() = default;
};

struct Query {
  std::string event_type;             // or the name of an aggregate where the store has some: a row is a bucket then
  std::vector<std::string> symbols;   // empty = all
  std::vector<std::string> sources;   // empty = all
  std::optional<Timestamp> from;      // event time, inclusive
  std::optional<Timestamp> to;        // exclusive
  std::uint64_t limit = 0;            // rows; 0 = no limit
  bool newest_first = false;          // order is by event time, then symbol, sequence
  // Of each symbol its newest event at or before this time, to the nanosecond, of `sources` and not before `from`; of several
  // at the same time the one that the order above has last. Ordered by the symbol's bytes; an exploded event gives all of its
  // rows. kInvalidArgument with `to` or newest_first. kEndOfTime asks for the last value of each symbol.
  std::optional<Timestamp> as_of;
};
inline constexpr Timestamp kEndOfTime{std::numeric_limits<std::int64_t>::max()};

// One stored row: header columns, then the payload's columns by name (an exploded array gives a row per element).
struct QueryColumn {
  std::string name;
  ColumnType type = ColumnType::kText;
};

// Reads rows one by one; memory does not grow with the result.
class Cursor {
 public:
  virtual ~Cursor() = default;
  virtual std::span<const QueryColumn> columns() const = 0;
  // False at the end. Values are valid until the next call. Arrays come as kText: their JSON.
  [[nodiscard]] virtual Result<bool> next(std::vector<Value>& values) = 0;
};

struct TableStats {
  std::string event_type;
  std::string table;
  std::uint64_t rows = 0;
  Timestamp first_time, last_time;
};

struct StoreContents {
  std::string realm;                     // "" while nothing was written
  std::vector<std::string> event_types;  // that have a table, in order
};

struct ReplaceRange {
  std::vector<std::string> event_types;  // one that has no table here has nothing to go
  std::string source_id;
  Timestamp from, to;                    // event time; from inclusive, to exclusive
};

// New rows in the place of a source's old ones, in one transaction: readers see the old ones until commit(), the new ones after
// it. Without commit() (an error, the destructor, the death of the process) the old ones stay. Other writers, the store that
// it came from among them, wait meanwhile or are told kUnavailable (retryable): nothing of theirs is lost.
class Replacement {
 public:
  virtual ~Replacement() = default;
  virtual const std::map<std::string, std::uint64_t>& removed() const = 0;  // rows, by event type; none: no entry
  // As Store::write(), but nothing is committed. After an Error the replacement is over. May write what is not in the range too.
  [[nodiscard]] virtual Result<WriteResult> write(std::span<const Event* const> events) = 0;
  // Once. After kUnavailable it may have been done or not, as a whole: the same replacement can be made again.
  [[nodiscard]] virtual Status commit() = 0;
};

// ---- looking after a store ----

// What is done with old rows of one event type; what is not given stays as it is.
struct TablePolicy {
  std::optional<std::int64_t> chunk_ns;           // the span of event time of one part of the table, from now on
  std::optional<std::int64_t> compress_after_ns;  // 0 = never
  std::optional<std::int64_t> retention_ns;       // 0 = for ever; whole parts go once all of their rows are so old
};

struct TableStatus {
  std::string event_type, table;
  std::string layout;                // how the store divides it by time; "" = not at all
  std::uint64_t rows = 0;            // an estimate where counting would take long
  std::uint64_t bytes = 0;           // with its indexes
  std::uint64_t parts = 0, compressed_parts = 0;
  std::int64_t chunk_ns = 0, compress_after_ns = 0, retention_ns = 0;  // 0 = none, never, for ever
};
struct AggregateStatus {
  std::string name, table;
  std::int64_t bucket_ns = 0;
  std::string counter;               // the column that says how many rows a bucket is made of
  std::vector<std::string> counted;  // of them, all that have a value in each of these columns
  Timestamp kept_until;              // what is newer is computed when it is read; 0 = all is
  std::uint64_t bytes = 0;
};
struct JobStatus {                   // what the database does by itself
  std::string name, about, last_result;
  std::uint64_t failures = 0;
};
struct Finding {
  std::string where, what, cure;
};

struct StoreStatus {
  std::string engine, server_version, realm;
  int catalogue_version = 0;         // 0 = nothing was stored yet
  int newest_catalogue = 0;          // that this program makes; 0 where it has no versions
  std::string engine_reason;         // why this engine, where a better one could be; "" = there is nothing to say
  std::string user, transport;       // of a server: as whom we are there, and what protects the bytes on the way
  bool may_write = true;             // events of the tables that are there
  bool may_maintain = true;          // make and change tables, refresh, drop
  std::vector<Finding> dangers;      // settings with which events can be lost or read by others
  std::vector<TableStatus> tables;
  std::vector<AggregateStatus> aggregates;
  std::vector<JobStatus> jobs;
  std::uint64_t ranges_to_refresh = 0;
};

struct Maintained {
  std::uint64_t ranges = 0;          // of event time whose aggregates were computed anew
  std::uint64_t slices = 0;          // in so many transactions
  std::uint64_t parts_dropped = 0;
};

// Roles of a store on a server, by name, and what they are for. Who owns the store may do all.
struct StoreRoles {
  std::vector<std::string> writers;    // events into tables that are there
  std::vector<std::string> replacers;  // that, and take a source's range out
  std::vector<std::string> readers;
  bool dedicated = false;              // the database is the store's alone: nobody else may connect
};

class Store {
 public:
  virtual ~Store() = default;
  // Idempotent. Must have been called for a plan before events of it are written.
  [[nodiscard]] virtual Status prepare(const std::shared_ptr<const Plan>& plan) = 0;
  [[nodiscard]] virtual Result<WriteResult> write(std::span<const Event* const> events) = 0;
  // The part of write() that needs no database, for a caller that has the next events while another thread is in write(): may be
  // called beside everything else, by one thread at a time. `ready`: null, or what an earlier call made and nobody needs any
  // more. False: nothing was made (this store has no such part, a plan is not prepared yet), and write() is the way.
  [[nodiscard]] virtual bool make_ready(std::span<const Event* const> /*events*/, std::unique_ptr<ReadyEvents>& /*ready*/) { return false; }
  // As write(), of the events that `ready` was made of. After an Error the same may be written again.
  [[nodiscard]] virtual Result<WriteResult> write_ready(std::span<const Event* const> events, ReadyEvents& /*ready*/) { return write(events); }
  [[nodiscard]] virtual Result<std::unique_ptr<Cursor>> query(const Query& query) = 0;
  [[nodiscard]] virtual Result<std::vector<TableStats>> stats() = 0;

  // Refreshes aggregates, drops what retention says. To be called every half minute or so by one program, beside the one that
  // writes (it may take minutes after much late data); where several do so, one at a time works and the others return.
  [[nodiscard]] virtual Result<Maintained> maintain() { return Maintained{}; }
  // Any thread: a maintain() that is under way ends with an error; what it had not done yet is done the next time.
  virtual void interrupt() {}
  [[nodiscard]] virtual Result<StoreStatus> status() = 0;
  // kNotFound for an event type without a table here, kUnsupported for what this store cannot do.
  [[nodiscard]] virtual Status set_policy(const std::string& event_type, const TablePolicy& policy) = 0;
  // Makes the roles that are missing, gives each what it is for and takes away what else it had; tables that are made later give
  // them the same. Returns the statements; does nothing else unless `apply`. kUnsupported where the store has no roles.
  [[nodiscard]] virtual Result<std::string> set_up_roles(const StoreRoles& /*roles*/, bool /*apply*/) {
    return fail(Code::kUnsupported, "this store is a file and has no roles: who reads and writes it is set with the file's permissions (chmod)");
  }
  // What is not as it should be. Reads everything there is: minutes on a big store.
  [[nodiscard]] virtual Result<std::vector<Finding>> verify() = 0;
  [[nodiscard]] virtual Result<StoreContents> contents() = 0;  // from the catalogue: at once
  // The source_ids of an event type, in order; none when it has no table. Reads the whole table.
  [[nodiscard]] virtual Result<std::vector<std::string>> sources(const std::string& event_type) = 0;
  // Takes the range out, within a transaction that the replacement holds. It may write events of the plans prepared here. Does
  // not outlive the store. kUnavailable (retryable) when other writers are in the way for too long.
  [[nodiscard]] virtual Result<std::unique_ptr<Replacement>> begin_replace(const ReplaceRange& range) = 0;
};

}  // namespace utp
