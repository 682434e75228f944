// Facts about a block device, and about the file system that images lie on.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::fs {

struct BlockDevice {
  dev_t number = 0;
  Bytes size;
  std::uint32_t sector_size = kSectorSize;  ///< logical, bytes
  bool read_only = false;
};

/// ExitCode::Device when it cannot be opened or is no block device.
Result<BlockDevice> inspect_block_device(const std::string& path);

struct HostFileSystem {
  std::string type;             ///< as in the mount table: "ext4", "xfs", "btrfs", "tmpfs", ...
  dev_t device = 0;             ///< st_dev of the path
  bool in_memory = false;       ///< tmpfs or ramfs: nothing survives a restart
  bool data_writeback = false;  ///< data may reach the disk after the metadata that refers to it
};

/// The file system that an existing file or directory lies on. ExitCode::Stat.
Result<HostFileSystem> host_file_system(const std::string& path);

}  // namespace ploop::fs
