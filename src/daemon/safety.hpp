// Keeping the daemon's processes able to work when memory is short: the device they serve may be where the
// kernel wants to write dirty pages in order to free some. All of this is best effort; who lacks a privilege
// runs without it.
#pragma once

#include <cstdint>

#include "base/result.hpp"

namespace ploop::daemon {

/// The kernel may neither start I/O for allocations of this process nor pick it when memory runs out; no
/// signal from a closed socket; no files with surprising modes.
void protect_process();

/// Locks what is mapped now into memory, and unless locked memory is limited whatever is touched later:
/// beyond a limit, later allocations would only fail.
void lock_memory(bool unlimited = true);

/// The caller's limits are not ours, and the device lives longer: files, memory, processor time and so on are
/// limited only by hard limits that can't be raised; to reach one is an error, not a signal.
void raise_limits();

/// ExitCode::System, EFBIG, when a file may not become as large as the image of such a disk can: its writes
/// would fail some day.
Status check_file_size_limit(std::uint64_t disk_bytes, std::uint64_t cluster_bytes);

/// A device serves everybody, so it does not run with the priority or scheduling class of who happened to
/// attach it: others wait for it, as they do for the kernel's block threads.
void raise_priority();

/// Ends this process when its parent ends. False when the parent is gone already.
bool die_with_parent(int parent);

}  // namespace ploop::daemon
