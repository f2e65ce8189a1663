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
// Threads: one thread at a time; open a second Store for a second thread.
#pragma once

#include <cstdint>
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
  std::size_t inserted = 0;
  std::size_t duplicates = 0;
  std::vector<std::size_t> duplicate_indexes;  // of the duplicates, into the span, in no order
  std::vector<RowError> errors;
};

struct Query {
  std::string event_type;
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

class Store {
 public:
  virtual ~Store() = default;
  // Idempotent. Must have been called for a plan before events of it are written.
  [[nodiscard]] virtual Status prepare(const std::shared_ptr<const Plan>& plan) = 0;
  [[nodiscard]] virtual Result<WriteResult> write(std::span<const Event* const> events) = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<Cursor>> query(const Query& query) = 0;
  [[nodiscard]] virtual Result<std::vector<TableStats>> stats() = 0;
};

}  // namespace utp
