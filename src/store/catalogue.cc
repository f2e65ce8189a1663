#include "store/catalogue.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace utp {
namespace {

std::string at(std::string_view store) { return "store " + std::string(store) + ": "; }

}  // namespace

bool newer_ref(std::string_view a, std::string_view b) {
  const auto version = [](std::string_view ref) {
    std::array<int, 3> parts{};
    const std::size_t slash = ref.rfind('/');
    const std::string text(slash == std::string_view::npos ? ref : ref.substr(slash + 1));
    std::sscanf(text.c_str(), "%d.%d.%d", &parts[0], &parts[1], &parts[2]);
    return parts;
  };
  return version(a) > version(b);
}

Status check_known(std::string_view store, const KnownTable& known, const Plan& plan, const std::vector<StoredColumn>& columns) {
  const std::string where = at(store) + "table \"" + plan.table() + "\": ";
  if (known.event_type != plan.event_type()) {
    return fail(Code::kAlreadyExists, where + "holds " + known.event_type + "; " + plan.event_type() +
                                          " needs a table of its own: name it in the schema (x-utp.table)");
  }
  if (known.exploded != plan.explode().has_value()) {
    return fail(Code::kUnsupported, where + known.schema_ref + " and " + plan.schema_ref() +
                                        " differ in x-utp.explode: that is a new major version with a table of its own");
  }
  for (const StoredColumn& column : columns) {
    const auto found = known.kinds.find(column.name);
    if (found == known.kinds.end() || found->second == to_string(column.kind)) continue;
    return fail(Code::kUnsupported, where + "column \"" + column.name + "\" is " + found->second + " since " + known.schema_ref +
                                        ", " + plan.schema_ref() + " wants " + std::string(to_string(column.kind)) +
                                        ". A field never changes its type: give it a new name, or the schema a new major version "
                                        "with a table of its own");
  }
  return {};
}

bool needs_migration(const KnownTable& known, const Plan& plan, const std::vector<StoredColumn>& columns) {
  return newer_ref(plan.schema_ref(), known.schema_ref) ||
         std::any_of(columns.begin(), columns.end(), [&](const auto& column) { return !known.kinds.contains(column.name); });
}

ColumnType column_type(StoredKind kind) {
  switch (kind) {
    case StoredKind::kBool: return ColumnType::kBool;
    case StoredKind::kInteger:
    case StoredKind::kRowNumber: return ColumnType::kInteger;
    case StoredKind::kDecimal: return ColumnType::kDecimal;
    case StoredKind::kTime: return ColumnType::kTime;
    case StoredKind::kArray: return ColumnType::kArray;
    case StoredKind::kKey:
    case StoredKind::kChecksum:
    case StoredKind::kText: return ColumnType::kText;
  }
  return ColumnType::kText;
}

Error foreign_table_error(std::string_view store, const Plan& plan) {
  return {Code::kAlreadyExists,
          at(store) + plan.schema_ref() + " wants the table \"" + plan.table() +
              "\", which is there and was not made for events. Name another table in the schema (x-utp.table), or another store",
          false};
}

Error read_only_error(std::string_view store) { return {Code::kPermission, at(store) + "was opened for reading only", false}; }

Error replacement_over_error(std::string_view store) {
  return {Code::kUnavailable, at(store) + "the replacement is over: it was committed or a write in it failed. Begin it again", true};
}

Error read_only_migration_error(std::string_view store, const Plan& plan) {
  return {Code::kPermission,
          at(store) + "was opened for reading only, and table \"" + plan.table() + "\" lacks columns of " + plan.schema_ref(), false};
}

Error not_prepared_error(std::string_view store, const Event& event) {
  return {Code::kNotFound,
          at(store) + "no table was prepared for " +
              (event.row.has_plan() ? event.row.plan().schema_ref() : std::string(event.envelope.schema_ref)) +
              ". Start with its schema among the schema directories",
          false};
}

Error realm_of_event_error(std::string_view store, std::string_view realm, std::string_view of_event) {
  return {Code::kInvalidArgument,
          at(store) + "holds realm \"" + std::string(realm) + "\", the event is of realm \"" + std::string(of_event) +
              "\". One realm per store: give it a store of its own",
          false};
}

Error realm_of_store_error(std::string_view store, std::string_view realm, std::string_view wanted) {
  return {Code::kInvalidArgument,
          at(store) + "holds realm \"" + std::string(realm) + "\", the events to come are of realm \"" + std::string(wanted) +
              "\". One realm per store: name another store, or the realm that it holds",
          false};
}

Status check_query(std::string_view store, const Query& query) {
  if (!query.as_of || (!query.to && !query.newest_first)) return {};
  return fail(Code::kInvalidArgument, at(store) + "as_of answers with one event a symbol: it goes with neither `to` nor newest_first");
}

Error no_event_type_error(std::string_view store, std::string_view event_type, const std::vector<std::string>& known) {
  std::string list;
  for (const std::string& entry : known) list += (list.empty() ? "" : ", ") + entry;
  return {Code::kNotFound,
          at(store) + "no event type \"" + std::string(event_type) + "\" here; there is " + (list.empty() ? "nothing yet" : list), false};
}

}  // namespace utp
