// The steps of the old kernel module, one by one: `start`, `stop`, `clear`, `delete`. A stopped device of
// ours is only a note of what it was made of (RUNDIR/stopped/ploopN); its images are closed and nothing is
// locked, so whoever uses these commands keeps others away from them. `mount` and `umount` need none of this.
#pragma once

#include <string>

#include "base/result.hpp"

namespace ploop::ops {

/// Ends the device and remembers it. One try: ExitCode::DeviceIoctl, EBUSY while something holds it.
/// ExitCode::Device when it does not run.
Status stop_device(const std::string& device);

/// Attaches a stopped device again under its number. ExitCode::Device when none is remembered, DeviceIoctl
/// when it runs already or when its descriptor names other images by now.
Status start_device(const std::string& device);

/// Forgets a stopped device, and what a dead one left. Success when there is nothing. ExitCode::DeviceIoctl
/// when it runs.
Status clear_device(const std::string& device);

/// Takes the top level off a stopped device; the last one clears it. ExitCode::DeviceIoctl for any other
/// level and for a running device, ExitCode::Device when none is remembered.
Status delete_level(const std::string& device, std::size_t level);

/// The lowest device number that `mount` would take now; nothing is reserved. ExitCode::Create when none is
/// free.
Result<int> next_device_number();

}  // namespace ploop::ops
