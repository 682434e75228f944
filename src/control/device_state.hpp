// What is known about a running device: written by ploopd to RUNDIR/ploopN/state, read by `list`, `info`,
// `umount`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"

namespace ploop::control {

struct DeviceState {
  int number = -1;  ///< N of /dev/ploopN
  int guardian_pid = 0;
  std::uint64_t guardian_start =
      0;  ///< start time from /proc/PID/stat, so that a reused pid is not mistaken for it
  int worker_pid = 0;
  std::string backing_device;  ///< kernel block device behind /dev/ploopN, for example /dev/loop3
  std::uint32_t major = 0;     ///< device number of the whole device
  std::uint32_t minor = 0;
  std::uint64_t size_sectors = 0;
  std::uint32_t cluster_sectors = 0;
  int version = 2;  ///< format version of the top, 1 or 2; a raw top counts as 2
  bool read_only = false;
  std::vector<DeltaSpec>
      deltas;  ///< base first; which files they are is known, unless the daemon is older than that member
  std::string component;        ///< "" is the default component
  std::string descriptor;       ///< "" when attached from a list of images
  std::optional<FileId> place;  ///< the directory that the descriptor was in then
  std::string transport;        ///< "fuse", "ublk" or another of ublk's names
  bool can_resend = false;      ///< the kernel can hand unanswered requests to a successor of the worker
  std::vector<std::string>
      sandbox;  ///< the parts that confine the worker: "capabilities", "ring", "landlock", "seccomp"
  bool sandbox_required = false;        ///< attached so that a missing part would have been an error
  bool can_resize = true;               ///< the block device can grow while it runs
  OnEnospc on_enospc = OnEnospc::Wait;  ///< what an allocating write does when the host file system is full
  std::string program;  ///< version of the ploopd that serves; "" when it is older than this member
  bool operator==(const DeviceState&) const = default;
};

/// Counters since attach. Requests are counted when they are answered.
struct DeviceStats {
  std::uint64_t reads = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t writes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t discards = 0;  ///< discards and write-zeroes
  std::uint64_t discarded_bytes = 0;
  std::uint64_t allocations = 0;  ///< clusters taken by the top image
  std::uint64_t barriers = 0;     ///< fdatasync calls on the top image
  std::uint64_t table_pages = 0;  ///< cluster table pages written
  std::uint64_t errors = 0;       ///< requests answered with an error
  bool failed = false;            ///< a barrier failed; writes are refused until attached again
  bool waits_for_space =
      false;  ///< the host file system is full: some writes wait, those that need no space go on
};

/// One line of JSON, and back; ExitCode::Protocol for text that is not a state.
std::string encode_device_state(const DeviceState& state);
Result<DeviceState> decode_device_state(std::string_view text);

}  // namespace ploop::control
