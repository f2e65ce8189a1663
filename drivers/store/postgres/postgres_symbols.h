// The list of the symbols of each table (utp_symbols): who asks for the last value of every symbol would have to read all of a
// table, or all of its partitions, to find out which symbols there are. Internal to this driver.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "drivers/store/postgres/postgres_connection.h"

namespace utp::postgres {

// What a writer knows of the list. A symbol stands in it before, or together with, its first row.
class SymbolList {
 public:
  void forget();  // on a new connection
  void note(const std::string& table, std::string_view symbol);
  bool any_fresh() const { return !fresh_.empty(); }
  // In the transaction of the rows and before them, in one order, so that writers wait for each other instead of deadlocking.
  // Does nothing when no noted symbol is new.
  Status store(Connection& connection);
  void committed();
  void rolled_back() { fresh_.clear(); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Symbols = std::unordered_set<std::string, Hash, std::equal_to<>>;

  std::unordered_map<std::string, Symbols, Hash, std::equal_to<>> known_;
  std::size_t known_count_ = 0;
  std::set<std::pair<std::string, std::string>> fresh_;  // table, symbol
};

}  // namespace utp::postgres
