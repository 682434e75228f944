// Changing the size of the inner file system. ext3 and ext4 grow while mounted and shrink when not; xfs only
// grows.
#pragma once

#include <string>

#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::fs {

struct FileSystemFacts {
  std::string type;              ///< "ext3", "ext4", "xfs", ...
  std::uint32_t block_size = 0;  ///< bytes
  std::uint64_t blocks = 0;
  std::uint64_t inodes = 0;  ///< ext only
  [[nodiscard]] Bytes size() const { return Bytes{blocks * block_size}; }
  [[nodiscard]] bool is_ext() const { return type.starts_with("ext"); }
};

/// From the superblock on the partition or device. ExitCode::Read; Param for a file system that can't be
/// resized here.
Result<FileSystemFacts> read_facts(const std::string& device);

/// The kernel lets only some processes grow a mounted ext file system. ExitCode::ResizeFs when we are none of
/// them.
Status may_grow_mounted(const FileSystemFacts& facts);

/// Grows the file system mounted at `directory` (any directory in it will do) over `device`, to its end. The
/// kernel does it in transactions: an interrupted one leaves the old size or something between. Nothing
/// happens when it fills the device already. ExitCode::ResizeFs.
Status grow_mounted(const std::string& directory, const std::string& device);

/// The smallest size that resize2fs expects to reach with the unmounted ext file system, a little more than
/// that needs. ExitCode::ResizeFs.
Result<Bytes> minimum_ext_size(const std::string& device);

/// `resize2fs` of an unmounted and checked ext file system to this size, rounded down to its blocks. A killed
/// one may leave damage: work on something that can be thrown away. ExitCode::ResizeFs.
Status resize_unmounted_ext(const std::string& device, Bytes size);

/// Blocks reserved for root become 5 % of `size`. ExitCode::ResizeFs.
Status set_reserved_blocks(const std::string& device, Bytes size);

}  // namespace ploop::fs
