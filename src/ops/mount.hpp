// `mount`: a disk (by its descriptor) or a list of images becomes a block device, and with a directory given
// a mounted file system. When it fails nothing stays attached.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "descriptor/store.hpp"

namespace ploop::ops {

struct MountOptions {
  /// One name ending in ".xml" is a descriptor; anything else is a list of images, base first.
  std::vector<std::string> operands;
  bool read_only = false;
  bool fsck = false;                ///< check the file system before mounting it
  std::string device;               ///< wanted /dev/ploopN; "" takes the next free one
  std::string directory;            ///< mount point; "" only attaches
  std::string fs_options;           ///< for mount(2), comma list
  std::string fs_type;              ///< "" finds out
  std::optional<std::string> uuid;  ///< node of the disk's tree; nothing means the top
  std::string component;
  bool raw = false;                              ///< list form: the base is raw
  std::optional<std::uint32_t> cluster_sectors;  ///< list form: cluster size of a raw base
  std::vector<std::string> allow_external;  ///< images outside of the descriptor's directory that may be used
  std::string transport = "auto";           ///< as in control::AttachSpec
  bool require_sandbox = false;             ///< fail when the daemon can't be confined in full
  control::OnEnospc on_enospc =
      control::OnEnospc::Wait;  ///< what a write does when the host file system is full
  /// "ploop" records for umount(8) that umount.ploop takes this mount down, device and all; "" records
  /// nothing.
  std::string umount_helper;
};

struct MountResult {
  std::string device;       ///< /dev/ploopN
  std::string file_system;  ///< the partition, or the device when there is no partition table
};

/// ExitCode::Mount when a device already uses the disk, NoSnapshot for an unknown UUID, Param for a refused
/// combination, else the code of the step.
Result<MountResult> mount(const MountOptions& options);

/// The same for a disk that the caller has opened; `options.operands` does not count.
Result<MountResult> mount_opened(const descriptor::Locked& locked, const MountOptions& options);

/// Success when a device could be started at all; ExitCode::System when ploopd is not installed.
Status require_daemon();

/// True when something is mounted exactly there.
bool is_mount_point(const std::string& directory);

}  // namespace ploop::ops
