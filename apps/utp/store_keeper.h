// Looks after a chamber's store while the chamber runs: soon after the start, then every half minute, what Store::maintain() does, over a connection and on
// a thread of its own, so that the persister never waits for it. What fails is told once and tried again; so is a user that may write and not look after
// the store, which is then somebody else's to do.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "core/result.h"
#include "store/store.h"

namespace utp::app {

class StoreKeeper {
 public:
  explicit StoreKeeper(std::string url) : url_(std::move(url)) {}
  ~StoreKeeper();  // stops; what is under way ends at once, and is done again another time
  void start();
  std::string last_error() const;  // of the last turn; "" = it was done

 private:
  void run();
  Status turn();

  const std::string url_;
  std::thread thread_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool stopping_ = false;
  std::string last_error_;
  std::unique_ptr<Store> store_;  // made and used by the thread; interrupted by another
};

}  // namespace utp::app
