// Who uses the nodes of a disk: the device that writes to its top, and others that show a snapshot.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "ops/running.hpp"

namespace ploop::ops {

struct DiskUse {
  std::optional<DeviceState> running;  ///< writes to the top, whatever its component
  std::vector<DeviceState>
      others;  ///< show the disk or a snapshot of it, or belong to another disk that shares files with it
};

/// Of the disk whose descriptor is at `path`.
Result<DiskUse> disk_use(const descriptor::Disk& disk, const std::string& path);

/// For commands that name a device, whose descriptor then follows from that: it must be the disk that the
/// device runs. ExitCode::Descriptor when that was moved.
Status confirm_running(const DiskUse& use, const DeviceState& device, const std::string& path);

/// The path of an image of the disk as devices name images; literal when the file is gone or may not be used.
std::string real_file(const descriptor::Disk& disk, const std::string& file);

/// The other devices must not use these files, since their content will change. The device of a temporary
/// snapshot that nobody uses any more is unmounted and detached. ExitCode::Busy, "Snapshot UUID is busy by
/// device(s): ..." otherwise.
Status free_node(const DiskUse& use, const descriptor::Disk& disk, const std::string& uuid);

}  // namespace ploop::ops
