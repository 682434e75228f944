// The devices that exist: one directory RUNDIR/ploopN per device, with the files `state`, `control`, `map`, `log` and
// `lock`. A device is alive exactly while its guardian holds the OFD lock on `lock`, which no crash can leave behind.
// RUNDIR/lock serialises taking and cleaning numbers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/device_state.hpp"

namespace ploop::control {

/// Names of the files of one device.
std::string state_path(int number);
std::string control_path(int number);
std::string map_path(int number);
std::string log_path(int number);

/// All live devices that are fully attached, by number. Directories of dead devices are skipped. Does not change anything.
/// A missing RUNDIR is an empty list; ExitCode::Sysfs when it can't be read.
Result<std::vector<DeviceState>> list_devices();

/// The live device N, or nothing.
Result<std::optional<DeviceState>> find_device(int number);

/// The lowest number that DeviceClaim would take now. ExitCode::Device when there is none.
Result<int> next_free_number();

/// Removes the directories and block nodes that dead devices left. Safe at any time; needs root like attach does.
Status cleanup_stale();

/// A device number that belongs to the calling process while this object lives. Used by the guardian.
class DeviceClaim {
 public:
  /// Takes number N, or for -1 the lowest free one: directory made, lock held. A number whose /dev/ploopN exists as a
  /// node that no dead device of ours explains is not free. ExitCode::Device when N is taken or nothing is free.
  static Result<DeviceClaim> take(int wanted);
  [[nodiscard]] int number() const { return number_; }
  /// Removes directory and nodes and gives the number back.
  Status release();

 private:
  DeviceClaim(int number, Fd lock) : number_(number), lock_(std::move(lock)) {}
  int number_ = -1;
  Fd lock_;
};

/// Writes the state file of a device (atomic, not synced: it is in memory).
Status save_state(const DeviceState& state);

}  // namespace ploop::control
