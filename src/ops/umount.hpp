// `umount`: the file system is unmounted, the device flushed and detached.
#pragma once

#include <string>

#include "base/result.hpp"

namespace ploop::ops {

/// Exactly one of device, directory and target is used, in this order of precedence.
struct UmountOptions {
  std::string device;     ///< /dev/ploopN, its partition, or /dev/mapper/ploopN
  std::string directory;  ///< mount point
  std::string target;     ///< descriptor or base image
  std::string component;  ///< which device of the target
};

/// ExitCode::Device, Param, NotMounted, Param when there is no such device (by device, directory, descriptor,
/// image); UmountBusy or Umount when the file system stays mounted (the device keeps running); DeviceIoctl
/// when something else holds the device.
Status umount(const UmountOptions& options);

}  // namespace ploop::ops
