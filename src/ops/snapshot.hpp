// `snapshot`: the current state of a disk is frozen under a name, and a new, empty top takes the writes from
// now on.
#pragma once

#include <optional>
#include <string>

#include "base/result.hpp"
#include "ops/disk_use.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

struct SnapshotOptions {
  std::string descriptor;
  std::optional<std::string> uuid;  ///< nothing makes one up
};

/// Logs the name. ExitCode::Param: the name is taken, too many snapshots; otherwise the code of the step, and
/// the disk is as it was.
Status snapshot(const SnapshotOptions& options);

struct DeviceSnapshotOptions {
  std::string device;   ///< /dev/ploopN
  std::string file;     ///< the new image, which must not exist
  bool freeze = false;  ///< freeze the mounted file system meanwhile
};

/// A new top for a device that was attached from a list of images. ExitCode::Sysfs: no such device; Param: it
/// belongs to a descriptor; Open: the file exists; otherwise the device's error, and the file is removed.
Status snapshot_device(const DeviceSnapshotOptions& options);

/// The part under the lock, for everybody who takes snapshots. `temporary`: it goes again when nobody uses
/// it.
Status take_snapshot(descriptor::Locked& locked, const DiskUse& use, const std::string& uuid, bool temporary);

}  // namespace ploop::ops
