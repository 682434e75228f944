// The partition table inside a disk: one GPT partition that starts and ends on cluster boundaries, so that
// file system blocks never straddle clusters. Written with libfdisk, read with libblkid. A disk without a
// table carries its file system on the bare device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::fs {

/// A part of a device, in sectors of 512 bytes whatever the device's logical sector size is.
struct PartitionRange {
  Sectors start;
  Sectors length;
  friend bool operator==(const PartitionRange&, const PartitionRange&) = default;
};

/// Where the one partition of a disk of `size` goes: [cluster, size - cluster). ExitCode::Param when the disk
/// does not have more than two clusters or a cluster cannot hold the table.
Result<PartitionRange> plan_partition(Sectors size, std::uint32_t cluster_sectors);

/// Writes a new table with one partition as planned above, named "primary", of type Linux file system.
/// Everything that was there is replaced. `device` is a block device or a plain file. ExitCode::Param as
/// above, ChangeGpt for everything else. The kernel is not told: see set_kernel_partition.
Status create_gpt(const std::string& device, std::uint32_t cluster_sectors);

/// Partition 1 of the table, or nothing when the device has no GPT (then the whole device is the file
/// system). A table that is announced but damaged, or without partition 1, is an error (ExitCode::Param).
/// ExitCode::Read, Device.
Result<std::optional<PartitionRange>> read_partition(const std::string& device);

}  // namespace ploop::fs
