// One table's rows as COPY takes them, in the binary form. Internal to this driver.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/byte_buffer.h"
#include "core/hash.h"
#include "model/event.h"
#include "store/ddl.h"

namespace utp::postgres {

// Bytes that grow at the end; what is behind size() is unwritten.
class CopyBuffer {
 public:
  // `bytes` writable ones; take() says how many were used.
  char* room(std::size_t bytes) {
    if (bytes_.size() - size_ < bytes) bytes_.resize((size_ + bytes) * 2);
    return bytes_.data() + size_;
  }
  void take(std::size_t bytes) { size_ += bytes; }
  std::size_t size() const { return size_; }
  void cut(std::size_t size) { size_ = size; }
  std::span<const char> bytes() const { return {bytes_.data(), size_}; }
  std::string& scratch() { return scratch_; }  // for what is written here next

 private:
  ByteBuffer bytes_;
  std::size_t size_ = 0;
  std::string scratch_;
};

void append_copy_head(CopyBuffer& out);
void append_copy_end(CopyBuffer& out);
void write_key(const Hash128& key, char* out);  // 16 bytes, in the server's order of a uuid
Hash128 read_key(std::string_view bytes);

// Knows no connection: a lost one leaves it as it is. Any thread may use it, each with its own buffer.
class TableWriter {
 public:
  static Result<std::unique_ptr<TableWriter>> create(std::shared_ptr<const Plan> plan);

  const Plan& plan() const { return *plan_; }
  const std::shared_ptr<const Plan>& shared_plan() const { return plan_; }
  // "\"event_time\", \"event_time_ns\", ...": what append() writes.
  const std::string& column_list() const { return column_list_; }
  // "\"event_time\" timestamptz, ...": for a staging table. Not LIKE the table: a writer may not read it.
  const std::string& column_definitions() const { return column_definitions_; }
  std::string copy_sql(std::string_view table) const { return "COPY " + std::string(table) + " (" + column_list_ + ") FROM STDIN BINARY"; }

  // The rows of an event: one, or one per element of the exploded array. Their number; or kInvalidArgument naming the column
  // that cannot be stored: then nothing was appended.
  Result<std::size_t> append(const Event& event, const Hash128& key, CopyBuffer& out) const;

 private:
  explicit TableWriter(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}
  Status append_row(const Event& event, const Hash128& key, std::string_view quality, std::size_t row, CopyBuffer& out) const;
  Status append_value(const StoredColumn& column, const Value& value, CopyBuffer& out) const;
  Status append_text(std::string_view column, std::string_view text, CopyBuffer& out) const;
  bool rounds(const Event& event) const;

  std::shared_ptr<const Plan> plan_;
  std::vector<StoredColumn> columns_;  // header, row_no, payload
  std::size_t first_payload_ = 0;
  std::int16_t field_count_ = 0;       // columns of the table: a time has two
  std::string column_list_, column_definitions_;
};

}  // namespace utp::postgres
