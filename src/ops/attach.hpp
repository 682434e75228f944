// Bringing a device up with its nodes and partition, and taking it down again: the steps that init, mount,
// umount and info share.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/device_state.hpp"
#include "control/launcher.hpp"
#include "fs/live_root.hpp"
#include "fs/mount.hpp"

namespace ploop::ops {

struct Attached {
  control::DeviceState state;
  std::string device;                    ///< /dev/ploopN
  std::optional<std::string> partition;  ///< /dev/ploopNp1, when the disk has a partition table
  control::Lifeline lifeline;            ///< the device ends with this, unless keep() was called
  /// What holds the file system.
  [[nodiscard]] const std::string& file_system() const { return partition ? *partition : device; }
};

/// Attaches, logs one "Adding delta" line per image, makes the nodes. A damaged partition table is a warning,
/// since the device is needed to repair it. Detaches again when it fails. The device ends with the command,
/// also a killed one, unless keep() is called on `lifeline`.
Result<Attached> attach(const control::AttachSpec& spec);

/// Reads the partition table anew (after it was written) and makes the partition's node.
Status refresh_partition(Attached& attached);

/// Logs "Unmounting device", detaches; while something holds the device, repeats with growing pauses up to
/// `limit` and then names the holders: ExitCode::DeviceIoctl, EBUSY.
Status detach(const control::DeviceState& state, std::chrono::milliseconds limit = std::chrono::seconds(15));

/// Mounts of the device and its partition in this mount namespace, oldest first.
Result<std::vector<fs::MountPoint>> mounts_of(const control::DeviceState& state);

/// The file system that is mounted from the device or its partition, in whatever mount namespace; nothing
/// when there is none.
Result<std::optional<fs::LiveRoot>> mounted_root(const control::DeviceState& state);

}  // namespace ploop::ops
