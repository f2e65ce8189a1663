// Queries and statistics from the store's own catalogue: no plan is needed to read. Internal to this driver.
#pragma once

#include <memory>
#include <mutex>

#include "drivers/store/postgres/postgres_connection.h"
#include "store/store.h"

namespace utp::postgres {

// Keeps one reader's connection that is not in use: to make one takes longer than a look at the last values, and the server's process
// behind it has learned the tables. Any thread.
class SpareReader {
 public:
  std::unique_ptr<Connection> take();  // null when there is none
  void give(std::unique_ptr<Connection> connection);

 private:
  std::mutex mutex_;
  std::unique_ptr<Connection> connection_;
};

// The cursor owns the connection, and gives it to `spare` at its end.
Result<std::unique_ptr<Cursor>> run_query(std::unique_ptr<Connection> connection, const Query& query, const std::shared_ptr<SpareReader>& spare);
Result<std::vector<TableStats>> table_stats(Connection& connection);

}  // namespace utp::postgres
