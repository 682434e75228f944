// The kernel's idea of a disk's partition and the device nodes that users see. Kernels differ in which
// partition tables they can read: some have no GPT parser, and a kernel with only the MBR one presents the
// protective entry as a partition. So what the kernel found is compared with the real table and corrected
// through BLKPG.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "fs/gpt.hpp"

namespace ploop::fs {

/// How long operations that the kernel refuses with EBUSY are repeated (pause 10 ms, doubling up to 500 ms).
inline constexpr std::chrono::milliseconds kBusyLimit{10'000};

/// Makes the kernel have exactly partition 1 with this range on the block device and returns the partition's
/// device number. A partition that is already right is left alone (it may be mounted). The device must allow
/// partitions (a loop device: LO_FLAGS_PARTSCAN). ExitCode::Device, DeviceIoctl, Sysfs.
Result<dev_t> set_kernel_partition(const std::string& device, const PartitionRange& range);

/// read_partition, then set_kernel_partition or remove_kernel_partitions: the device number of what holds the
/// file system: partition 1, or nothing when the whole device does.
Result<std::optional<dev_t>> update_kernel_partitions(const std::string& device);

/// The device number of the partition that the kernel has now, or nothing.
Result<std::optional<dev_t>> kernel_partition(const std::string& device, int number = 1);
/// The same of the device with this number, whether it has a node here or not.
Result<std::optional<dev_t>> kernel_partition(dev_t device, int number = 1);

/// The kernel's partition 1 gets this range, which has the same start; it may be mounted.
/// ExitCode::DeviceIoctl.
Status resize_kernel_partition(const std::string& device, const PartitionRange& range);

/// Takes all partitions of the device out of the kernel; ExitCode::DeviceIoctl when one stays busy for
/// `limit`.
Status remove_kernel_partitions(const std::string& device, std::chrono::milliseconds limit = kBusyLimit);

/// Makes (or replaces) the block node `path`, root only (0600). Something at `path` that is not a block node
/// stays and is an error. ExitCode::Mknod.
Status make_node(const std::string& path, dev_t number);

/// Removes the block node; a missing one is fine, anything else than a block node stays and is an error.
/// ExitCode::Unlink.
Status remove_node(const std::string& path);

}  // namespace ploop::fs
