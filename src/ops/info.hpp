// `info` and `list`: facts about disks and running devices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/device_state.hpp"
#include "fs/usage.hpp"

namespace ploop::ops {

/// How full the file system of a disk is: from the mounted file system, from the cache beside the descriptor,
/// or by attaching the disk read-only for a moment. ExitCode::Create (1) when a device runs whose file system
/// is not mounted.
Result<fs::Usage> disk_usage(const std::string& descriptor);

struct DiskGeometry {
  std::uint64_t size_sectors = 0;
  std::uint32_t cluster_sectors = 0;
  int version = 0;  ///< 0 for a raw top
};
/// Of the running device, else of the top image.
Result<DiskGeometry> disk_geometry(const std::string& descriptor);

struct DiskDevice {
  std::string device;           ///< "" when the disk is not attached
  std::string partition;        ///< what holds the file system; "" when the disk is not attached
  bool survives_crash = false;  ///< another daemon process can take over from one that dies; false when the
                                ///< disk is not attached
};
/// The device of the default component.
Result<DiskDevice> disk_device(const std::string& descriptor);

struct DeviceRow {
  control::DeviceState state;             ///< with at least one image
  std::vector<std::string> mount_points;  ///< in this mount namespace, oldest first; empty unless asked for
  bool waits_for_space = false;           ///< writes wait because the host's file system is full
};
/// All live devices by number. ExitCode::Create (1) when the state can't be read.
Result<std::vector<DeviceRow>> list_devices(bool with_mount_points);

}  // namespace ploop::ops
