#include "drivers/store/postgres/postgres_symbols.h"

#include <vector>

#include "schema/scanner.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kDoing = "list symbols";
// Some 100 MB. Beyond that all is forgotten: each symbol is then offered once more to the server, which has it already.
constexpr std::size_t kKnownSymbolsMax = 1'000'000;

}  // namespace

void SymbolList::forget() {
  known_.clear();
  known_count_ = 0;
  fresh_.clear();
}

void SymbolList::note(const std::string& table, std::string_view symbol) {
  const auto known = known_.find(table);
  if (known != known_.end() && known->second.contains(symbol)) return;
  // An event with such a symbol is refused, by its row.
  if (symbol.find('\0') != std::string_view::npos || !scan::valid_utf8(symbol)) return;
  fresh_.emplace(table, symbol);
}

Status SymbolList::store(Connection& connection) {
  for (auto first = fresh_.begin(); first != fresh_.end();) {
    const std::string& table = first->first;
    std::vector<std::string> symbols;
    for (; first != fresh_.end() && first->first == table; ++first) symbols.push_back(first->second);
    UTP_TRY(const Rows added, connection.run("INSERT INTO utp_symbols (table_name, symbol) SELECT $1, unnest($2) ON CONFLICT DO NOTHING", kDoing,
                                             {text_parameter(table), text_list_parameter(symbols)}));
  }
  return {};
}

void SymbolList::committed() {
  if (known_count_ + fresh_.size() > kKnownSymbolsMax) {
    known_.clear();
    known_count_ = 0;
  }
  for (const auto& [table, symbol] : fresh_) known_count_ += known_[table].insert(symbol).second ? 1 : 0;
  fresh_.clear();
}

}  // namespace utp::postgres
