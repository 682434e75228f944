// Children of a test that go into the real sandbox.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "daemon/sandbox.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {

/// What a worker has at hand when somebody has taken it over.
struct Captive {
  io::UringRing* ring = nullptr;
  int file = -1;    ///< a regular file, open for reading and writing
  int socket = -1;  ///< a connected Unix socket
  int device = -1;  ///< a character device
  int memory = -1;  ///< a memory file that is a program
  pid_t parent = -1;
};

/// How a child ended.
inline constexpr int kSucceeded = 0;
inline constexpr int kRefused = 10;    ///< the call gave an error
inline constexpr int kNoSandbox = 11;  ///< the child could not be set up

/// Runs `attempt` in a child, in the sandbox when `confined`; gives the status of waitpid(). The attempt's
/// result is that of a system call.
inline int run_child(bool confined, const std::function<long(const Captive&)>& attempt) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::alarm(20);
    char name[] = "/tmp/ploop-sandbox-XXXXXX";
    const Fd file{::mkstemp(name)};
    ::unlink(name);
    int ends[2] = {-1, -1};
    const int paired = ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    const Fd device{::open("/dev/null", O_RDWR)};
    const Fd memory{::memfd_create("program", 0)};
    auto ring = io::UringRing::create(8, io::UringRing::Start::Disabled);
    if (!file || paired != 0 || !device || !memory || !ring) ::_exit(kNoSandbox);
    if (confined) {
      SandboxOptions options;
      options.ring = ring->get();
      const Result<SandboxReport> report = enter_sandbox(options);
      if (!report) ::_exit(kNoSandbox);
    } else if (!(*ring)->enable()) {
      ::_exit(kNoSandbox);
    }
    const Captive captive{ring->get(), file.get(), ends[0], device.get(), memory.get(), parent};
    ::_exit(attempt(captive) < 0 ? kRefused : kSucceeded);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// Whether this system, and this kind of build, can do a part of the sandbox.
inline bool can_have(const std::string& part) {
  const int status = run_child(false, [&](const Captive&) -> long {
    auto ring = io::UringRing::create(8, io::UringRing::Start::Disabled);
    SandboxOptions options;
    options.ring = ring->get();
    const Result<SandboxReport> report = enter_sandbox(options);
    return report && std::ranges::find(report->in_force, part) != report->in_force.end() ? 0 : -1;
  });
  return WIFEXITED(status) && WEXITSTATUS(status) == kSucceeded;
}

inline std::string describe_status(int status) {
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) == kRefused) return "error";
  return WEXITSTATUS(status) == kSucceeded ? "success" : "exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace ploop::daemon
