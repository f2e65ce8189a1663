// One table's insert statement, bound from events. Internal to this driver.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "drivers/store/sqlite/sqlite_connection.h"
#include "model/event.h"
#include "store/ddl.h"

namespace utp::sqlite {

// Writes within the transaction that the caller holds. Not thread-safe.
class TableWriter {
 public:
  static Result<std::unique_ptr<TableWriter>> create(Connection& connection, std::shared_ptr<const Plan> plan);

  const Plan& plan() const { return *plan_; }
  const std::shared_ptr<const Plan>& shared_plan() const { return plan_; }

  enum class Outcome : std::uint8_t { kInserted, kDuplicate };
  // `key`: event.key(). kInvalidArgument concerns this event alone, of which nothing is stored then; any other error ends
  // the transaction.
  Result<Outcome> insert(const Event& event, const Hash128& key);

  // Rows added since the last call.
  std::uint64_t take_row_count() { return std::exchange(row_count_, 0); }
  // Adds `rows` to the table's count in the catalogue.
  Status count_rows(std::uint64_t rows);

 private:
  TableWriter(Connection& connection, std::shared_ptr<const Plan> plan) : connection_(connection), plan_(std::move(plan)) {}
  Status prepare();
  // What a parameter holds stays bound from row to row, and most texts repeat: they are bound again only when they change.
  struct Bound {
    enum class State : std::uint8_t { kOther, kNull, kText } state = State::kOther;
    std::string text;
  };

  void bind_text(int parameter, std::string_view text);
  void bind_null(int parameter);
  void bind_other(int parameter) { bound_[static_cast<std::size_t>(parameter)].state = Bound::State::kOther; }
  void bind_header(const Event& event, const Hash128& key, bool rounded);
  bool bind_payload(const Event& event);
  bool bind_value(int parameter, const Value& value);
  Result<bool> step();
  Result<Outcome> insert_single();
  Result<Outcome> insert_exploded(const Event& event);

  Connection& connection_;
  std::shared_ptr<const Plan> plan_;
  Statement insert_;
  Statement counter_;
  int first_payload_ = 0;  // parameter of the payload's first column
  std::string key_;        // bound once, written for each event
  std::string quality_;
  std::string arrays_;
  std::vector<std::string> array_texts_;  // per column, reused
  std::vector<Bound> bound_;              // per parameter; the first has number 1
  std::uint64_t row_count_ = 0;
};

}  // namespace utp::sqlite
