// libmount's view of a mount table, owned. Internal to this folder.
#pragma once

#include <libmount.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "fs/mount.hpp"

namespace ploop::fs {

/// One row of the table with what this folder needs of it.
struct MountRow {
  MountPoint mount;
  std::uint64_t id = 0;
  std::string options;  ///< options of the file system and of the mount
};

/// All rows of a mountinfo file, oldest first. ExitCode::Sysfs.
Result<std::vector<MountRow>> read_mount_table(const std::string& path = "/proc/self/mountinfo");

/// Where a path lies: the kernel's number of its mount, and whether the path is the root of that mount.
struct PathMount {
  std::uint64_t id = 0;
  bool is_root = false;
};
/// Without asking the file system's server. ExitCode::Stat.
Result<PathMount> mount_of_path(const std::string& path);

}  // namespace ploop::fs
