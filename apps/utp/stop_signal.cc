#include "apps/utp/stop_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace utp::app {
namespace {

sigset_t stop_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

StopSignal::StopSignal() {
  // A terminal that is gone and a pipe without reader are seen by write(), as errors.
  signal(SIGPIPE, SIG_IGN);
  sigset_t set = stop_set();
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

StopSignal::~StopSignal() {
  if (fd_ >= 0) close(fd_);
}

bool StopSignal::wait(std::int64_t timeout_ms) {
  if (stopped_ || fd_ < 0) return stopped_;
  pollfd entry{fd_, POLLIN, 0};
  if (poll(&entry, 1, static_cast<int>(timeout_ms)) <= 0) return false;
  signalfd_siginfo info;
  if (read(fd_, &info, sizeof info) != sizeof info) return false;
  if (info.ssi_signo == SIGUSR1) {
    reload_ = true;
    return false;
  }
  stopped_ = true;
  const sigset_t set = stop_set();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  return true;
}

}  // namespace utp::app
