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

/// Partition 1 for a disk of another size: from `start` (where it is) to what plan_partition() would give.
/// ExitCode::Param when nothing is left.
Result<PartitionRange> plan_resized_partition(Sectors start, Sectors size, std::uint32_t cluster_sectors);

/// Rewrites the table of `device` for a disk of `size`, which is at most the device's size: partition 1 keeps
/// its start and ends where plan_partition() puts the end, the second copy of the table goes to the end of
/// `size`. One of both copies is valid at every moment, and both are durable when this returns. A table that
/// is right already is not written. The kernel is not told. ExitCode::ChangeGpt, also for a damaged table or
/// one with other partitions; Param as above.
Result<PartitionRange> resize_gpt(const std::string& device, Sectors size, std::uint32_t cluster_sectors);

}  // namespace ploop::fs
