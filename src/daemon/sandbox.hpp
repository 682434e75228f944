// The sandbox of a process that reads images. Their bytes come from strangers; should one of them ever take
// the process over, it reaches the descriptors that it has and nothing else: no file, no program, no other
// process, no network, no privilege.
//
// One call, in the order of docs/security.md: resource limits, capabilities, no_new_privs, not dumpable, the
// ring's restrictions, Landlock, then the threads are started (all of that is inherited by them), then the
// system call filter for all threads. Nothing of it can be taken back. Afterwards files come through the
// guardian (daemon/file_source.hpp).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {

struct SandboxOptions {
  /// Made with io::UringRing::Start::Disabled by the calling thread; it takes operations when enter_sandbox()
  /// returns. May be null.
  io::UringRing* ring = nullptr;
  /// The ring carries commands to a driver (ublk).
  bool driver_commands = false;
  /// Starts what runs beside the calling thread, since no thread can be made later.
  std::function<Status()> start_threads;
  /// Parts that can't be had are an error (`--require-sandbox`), else only reported.
  bool required = false;
};

struct SandboxReport {
  std::vector<std::string> in_force;  ///< of "capabilities", "ring", "landlock", "seccomp", in this order
  std::vector<std::string> missing;   ///< "PART: why", for people
  bool memory_unlimited = false;      ///< any amount of memory can be locked, now and later
};

/// Puts the calling process, which has one thread, into the sandbox. ExitCode::System when a part is missing
/// and required, or the ring can't be started; the errors of `start_threads`. The process can't go on then.
Result<SandboxReport> enter_sandbox(const SandboxOptions& options);

}  // namespace ploop::daemon
