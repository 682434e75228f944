// Mounting and unmounting the inner file system, and finding it again. Mount points are found by device
// number in the mount table of the calling process's namespace, never by comparing path names.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace ploop::fs {

struct MountRequest {
  std::string device;     ///< block node of the partition or the whole device
  std::string directory;  ///< existing directory
  std::string type;       ///< empty: what the device holds is detected
  std::string options;    ///< comma list as for mount -o; may be empty
  bool read_only = false;
  std::string umount_helper = {};  ///< program umount.NAME that umount(8) runs for this mount; "" for none
};

/// ExitCode::Mount. Logs "Mounting DEV at DIR fstype=TYPE data='OPTIONS' [ro]" at LogLevel::Progress.
Status mount_filesystem(const MountRequest& request);

struct UnmountOptions {
  int retries = 6;  ///< after the first attempt, while the file system is busy
  std::chrono::milliseconds pause{1000};
};

/// Unmounts what is mounted last at `directory`. While it is busy, repeats and logs who uses it
/// (LogLevel::Detail, the last time as an error). ExitCode::Umount. Logs "Unmounting file system at DIR".
Status unmount_filesystem(const std::string& directory, const UnmountOptions& options = {});

struct MountPoint {
  std::string directory;
  std::string source;  ///< device as named at mount time
  std::string type;
  std::string root;  ///< what of the file system shows there; "/" for all of it
  dev_t device = 0;
  bool read_only = false;
};

/// All mounts of the block device in this namespace, oldest first. ExitCode::Sysfs when the table cannot be
/// read.
Result<std::vector<MountPoint>> mount_points_of(dev_t device);

/// All mounts of this namespace, oldest first. ExitCode::Sysfs when the table cannot be read.
Result<std::vector<MountPoint>> mount_points();

/// The mount whose root is `directory` (the last one made there). ExitCode::Param when it does not exist or
/// is no mount point.
Result<MountPoint> mount_at(const std::string& directory);
/// Unmounts this one; refuses with ExitCode::Umount when its directory leads to something else that was
/// mounted over it.
Status unmount_filesystem(const MountPoint& mount, const UnmountOptions& options = {});
/// The directory of the mount leads to it, not to something that was mounted over it.
bool is_on_top(const MountPoint& mount);

/// False also when the directory does not exist.
bool is_mount_point(const std::string& directory);

/// Name of the file system on the device ("ext4", "xfs", ...), "" when there is none that is known or more
/// than one. ExitCode::Device when it cannot be read.
Result<std::string> detect_filesystem(const std::string& device);

}  // namespace ploop::fs
