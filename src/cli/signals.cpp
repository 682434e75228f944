#include "cli/signals.hpp"

#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

#include "ops/cancel.hpp"

namespace ploop::cli {
namespace {

/// Programs started by the main thread that still belong to this session; a daemon being started does not.
void end_children() {
  const std::string self = std::to_string(::getpid());
  std::ifstream children("/proc/" + self + "/task/" + self + "/children");
  for (pid_t pid = 0; children >> pid;) {
    if (::getsid(pid) == ::getsid(0)) ::kill(pid, SIGTERM);
  }
}

void die_of(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::signal(signal, SIG_DFL);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(signal);
}

void serve(const Console& console, const sigset_t& set) {
  for (;;) {
    int signal = 0;
    if (::sigwait(&set, &signal) != 0) continue;
    console.message(LogLevel::Progress, "Cancelling...");
    if (!ops::in_cleanup_section()) die_of(signal);
    ops::request_cancel();
    end_children();
  }
}

}  // namespace

void watch_signals(const Console& console) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    // nohup and background jobs of a plain shell start with the signal ignored; it stays that way.
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(&set, signal);
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a file that may not become larger is an error like others
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([&console, set] { serve(console, set); }).detach();
}

}  // namespace ploop::cli
