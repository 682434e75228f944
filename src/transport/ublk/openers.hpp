// Who has a disk open, for kernels that can't tell: a look through /proc and sysfs. It sees the processes of
// this pid namespace.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

namespace ploop::transport::ublk {

/// The numbers of a disk and its partitions.
std::vector<dev_t> disk_and_partitions(dev_t disk);

/// True when a process other than this one has one of the devices open, or another block device is built on
/// one.
bool open_elsewhere(std::span<const dev_t> devices);

}  // namespace ploop::transport::ublk
