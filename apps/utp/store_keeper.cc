#include "apps/utp/store_keeper.h"

#include <pthread.h>

#include <chrono>

#include "apps/utp/ports.h"
#include "core/log.h"

namespace utp::app {
namespace {

constexpr std::chrono::seconds kFirst{1};  // what the last run left is done soon after a start
constexpr std::chrono::seconds kPause{30};

}  // namespace

StoreKeeper::~StoreKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (store_) store_->interrupt();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StoreKeeper::start() {
  thread_ = std::thread([this] { run(); });
}

std::string StoreKeeper::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void StoreKeeper::run() {
  ::pthread_setname_np(::pthread_self(), "store-keeper");
  for (std::chrono::seconds pause = kFirst;; pause = kPause) {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, pause, [&] { return stopping_; })) return;
    }
    const Status status = turn();
    const std::string error = status ? "" : status.error().message;
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (!error.empty() && error != last_error_) {
      if (status.error().code == Code::kPermission) {
        log::warn("this chamber writes its store and may not look after it: let its owner do so, with utp store maintain every half minute", {{"error", error}});
      } else {
        log::warn("the store was not looked after; it is tried again", {{"error", error}});
      }
    }
    last_error_ = error;
  }
}

Status StoreKeeper::turn() {
  if (!store_) {
    UTP_TRY(auto store, open_store(url_, true));
    const std::lock_guard lock(mutex_);
    if (stopping_) return {};
    store_ = std::move(store);
  }
  UTP_TRY(const Maintained done, store_->maintain());
  if (done.parts_dropped > 0) log::info("old parts of the store were dropped", {{"parts", std::to_string(done.parts_dropped)}});
  return {};
}

}  // namespace utp::app
