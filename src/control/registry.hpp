// The devices that exist: one directory RUNDIR/ploopN per device, with the files `state`, `control`, `map`,
// `log` and `lock`. A device is alive exactly while its guardian holds the OFD lock on `lock`, which no crash
// can leave behind. RUNDIR/lock serialises taking and cleaning numbers.
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
std::string admin_path(int number);
std::string map_path(int number);
std::string log_path(int number);
/// The mark of the device's ublk device, 16 hexadecimal digits; only where that is its transport.
std::string ublk_path(int number);
/// Where the log of a device goes that ended badly; outside of its directory.
std::string failed_log_path(int number);
/// Where the log of a device is kept that ended well, but had a worker that crashed and was replaced.
std::string crash_log_path(int number);

/// All live devices that are fully attached, by number. Directories of dead devices are skipped. Does not
/// change anything. A missing RUNDIR is an empty list; ExitCode::Sysfs when it can't be read.
Result<std::vector<DeviceState>> list_devices();

/// The live device N, or nothing.
Result<std::optional<DeviceState>> find_device(int number);

/// The lowest number that DeviceClaim would take now. ExitCode::Device when there is none.
Result<int> next_free_number();

/// A device whose guardian ended without taking it down: killed, or the machine went down under it.
struct DeadDevice {
  int number = -1;
  std::optional<DeviceState> state;  ///< nothing when it was never fully attached
  bool in_use = false;  ///< the kernel keeps its block device, with errors only, for somebody who has it open
                        ///< or mounted
};

/// Removes the block nodes of dead devices and, unless they are still in use, their directories. The log of
/// one that served is kept as failed_log_path(). One whose block device can't be ended is logged and counts
/// as in use. Gives the dead devices that were found, by number. Safe at any time; needs root like attach
/// does.
Result<std::vector<DeadDevice>> cleanup_stale();
/// The dead devices, by number, without changing anything. For those who may not clean up.
Result<std::vector<DeadDevice>> dead_devices();
/// Removes what dead device N left, in use or not. Nothing to do is success, a live device too.
Status clean_dead_device(int number);

/// A device number that belongs to the calling process while this object lives. Used by the guardian.
class DeviceClaim {
 public:
  /// Takes number N, or for -1 the lowest free one: directory made, lock held. A number whose /dev/ploopN
  /// exists as a node that no dead device of ours explains is not free. ExitCode::Device when N is taken or
  /// nothing is free.
  static Result<DeviceClaim> take(int wanted);
  /// Of a program that this one has replaced in the same process: `lock` is its descriptor().
  static DeviceClaim adopt(int number, Fd lock) { return {number, std::move(lock)}; }
  [[nodiscard]] int number() const { return number_; }
  /// Holds the lock that says that the device lives.
  [[nodiscard]] int descriptor() const { return lock_.get(); }
  /// Removes directory and nodes and gives the number back.
  Status release();

 private:
  DeviceClaim(int number, Fd lock) : number_(number), lock_(std::move(lock)) {}
  int number_ = -1;
  Fd lock_;
};

/// Writes the state file of a device (atomic). Takes the space that reserve_state() has put by where there is
/// no other, and puts some by again.
Status save_state(const DeviceState& state);
/// Puts space by in the runtime directory, so that this state can be saved even if somebody fills it.
/// ExitCode::Create when there is none.
Status reserve_state(const DeviceState& state);

}  // namespace ploop::control
