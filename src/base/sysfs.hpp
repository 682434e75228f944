// Where the kernel tells about block devices.
#pragma once

#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include <string>

namespace ploop {

/// /sys/dev/block/MAJOR:MINOR, a link to the directory of the block device. It is there as long as the
/// device.
inline std::string sysfs_block_device(dev_t number) {
  return fmt::format("/sys/dev/block/{}:{}", major(number), minor(number));
}

}  // namespace ploop
