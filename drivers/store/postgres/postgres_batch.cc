#include "drivers/store/postgres/postgres_batch.h"

#include <algorithm>

#include "drivers/store/postgres/postgres_connection.h"
#include "store/catalogue.h"

namespace utp::postgres {

void TableList::add(const Plan& plan, Table table) {
  const std::lock_guard lock(mutex_);
  const auto [place, fresh] = tables_.try_emplace({plan.table(), plan.schema_ref()}, std::move(table));
  if (fresh) by_plan_[&plan] = &place->second;  // the table keeps its plan: another instance may end, and its place be another's
}

Table* TableList::find(const Plan& plan, std::size_t values) {
  const std::lock_guard lock(mutex_);
  if (const auto found = by_plan_.find(&plan); found != by_plan_.end()) return found->second;
  // Another instance of the same schema: a published schema never changes, so its columns are the same.
  const auto same = tables_.find({plan.table(), plan.schema_ref()});
  if (same == tables_.end() || same->second.writer->plan().columns().size() != values) return nullptr;
  return &same->second;
}

void ReadyBatch::make(std::span<const Event* const> events, TableList& tables, const std::string& place, const std::string* realm) {
  part_count_ = 0;
  left_out_ = {};
  unknown_table_ = false;
  realm_ = events.front()->envelope.realm;
  const Plan* last_plan = nullptr;
  Part* part = nullptr;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const Event& event = *events[i];
    if (realm_ && *realm_ != event.envelope.realm) realm_.reset();
    if (realm != nullptr && event.envelope.realm != *realm) {
      left_out_.errors.push_back({i, realm_of_event_error(place, *realm, event.envelope.realm)});
      continue;
    }
    if (!event.row.has_plan() || &event.row.plan() != last_plan) {
      Table* table = event.row.has_plan() ? tables.find(event.row.plan(), event.row.values().size()) : nullptr;
      if (table == nullptr) {
        unknown_table_ = true;
        left_out_.errors.push_back({i, not_prepared_error(place, event)});
        continue;
      }
      part = &part_of(table);
      last_plan = &event.row.plan();
    }
    part->items.push_back({whole_microseconds(event.envelope.event_time.ns), event.key(), static_cast<std::uint32_t>(i)});
    part->symbols.insert(event.envelope.symbol);
  }
  for (Part& each : parts()) finish(each, events);
  const auto empty = std::remove_if(parts_.begin(), parts_.begin() + static_cast<std::ptrdiff_t>(part_count_), [](const Part& p) { return p.items.empty(); });
  part_count_ = static_cast<std::size_t>(empty - parts_.begin());
  const auto name = [](const Part& p) { return std::tie(p.table->writer->plan().table(), p.table->writer->plan().schema_ref()); };
  std::sort(parts_.begin(), empty, [&](const Part& a, const Part& b) { return name(a) < name(b); });
}

ReadyBatch::Part& ReadyBatch::part_of(Table* table) {
  for (Part& part : parts()) {
    if (part.table == table) return part;
  }
  if (part_count_ == parts_.size()) parts_.emplace_back();
  Part& part = parts_[part_count_++];
  part.table = table;
  part.items.clear();
  part.symbols.clear();
  part.rows.cut(0);
  part.row_count = 0;
  return part;
}

void ReadyBatch::finish(Part& part, std::span<const Event* const> events) {
  std::sort(part.items.begin(), part.items.end(), [](const Item& a, const Item& b) {
    if (a.event_time_us != b.event_time_us) return a.event_time_us < b.event_time_us;
    return a.key != b.key ? a.key < b.key : a.index < b.index;
  });
  append_copy_head(part.rows);
  std::size_t kept = 0;
  for (const Item& item : part.items) {
    if (kept > 0 && part.items[kept - 1].event_time_us == item.event_time_us && part.items[kept - 1].key == item.key) {
      ++left_out_.by_type[part.table->writer->plan().event_type()].duplicates;
      continue;
    }
    auto rows = part.table->writer->append(*events[item.index], item.key, part.rows);
    if (!rows) {
      left_out_.errors.push_back({item.index, std::move(rows.error())});
      continue;
    }
    part.row_count += *rows;
    part.items[kept++] = item;
  }
  part.items.resize(kept);
  append_copy_end(part.rows);
}

}  // namespace utp::postgres
