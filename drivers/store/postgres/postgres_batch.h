// A batch of events in the form in which the server takes it: by table, each event once, in key order, its rows as COPY has
// them. Internal to this driver.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "drivers/store/postgres/postgres_partitions.h"
#include "drivers/store/postgres/postgres_table.h"
#include "store/store.h"

namespace utp::postgres {

// All but the writer belongs to the thread that writes.
struct Table {
  std::unique_ptr<const TableWriter> writer;
  std::string copy_sql;
  std::string stage, stage_copy_sql;     // "" = not made on this connection
  std::optional<Partitions> partitions;  // none where the server makes them
  bool aggregated = false;
};

// The tables that are prepared. Stay where they are. find() may be called from any thread, all else from the one that writes.
class TableList {
 public:
  using Name = std::pair<std::string, std::string>;  // table and schema; their order is the one in which every writer takes them

  bool contains(const Plan& plan) const { return by_plan_.contains(&plan); }
  void add(const Plan& plan, Table table);
  Table* find(const Plan& plan, std::size_t values);  // null: not prepared
  std::map<Name, Table>& all() { return tables_; }

 private:
  std::mutex mutex_;  // guards the next two against find() in another thread
  std::map<Name, Table> tables_;
  std::unordered_map<const Plan*, Table*> by_plan_;
};

// Reused from batch to batch. Refers to the events.
class ReadyBatch final : public ReadyEvents {
 public:
  struct Item {
    std::int64_t event_time_us;
    Hash128 key;
    std::uint32_t index;  // of the event
  };
  using Items = std::span<const Item>;
  struct Part {
    Table* table = nullptr;
    std::vector<Item> items;  // by time and key: writers that have the same keys then wait for each other instead of blocking each other for good
    CopyBuffer rows;          // of the items, from head to end
    std::size_t row_count = 0;
    std::unordered_set<std::string_view> symbols;
  };

  // `realm`: events of another are left out with an error; null: not looked at. Needs no database.
  void make(std::span<const Event* const> events, TableList& tables, const std::string& place, const std::string* realm);

  std::span<Part> parts() { return {parts_.data(), part_count_}; }  // none is empty
  const WriteResult& left_out() const { return left_out_; }         // what is there twice, or cannot go anywhere
  bool complete() const { return !unknown_table_; }
  bool all_of(std::string_view realm) const { return realm_ && *realm_ == realm; }

 private:
  Part& part_of(Table* table);
  void finish(Part& part, std::span<const Event* const> events);

  std::vector<Part> parts_;  // the first part_count_ are in use
  std::size_t part_count_ = 0;
  WriteResult left_out_;
  std::optional<std::string> realm_;  // of every event; none = there are several
  bool unknown_table_ = false;
};

}  // namespace utp::postgres
