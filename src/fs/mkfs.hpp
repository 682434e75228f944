// Making the inner file system with the programs of e2fsprogs and xfsprogs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::fs {

enum class FsType { None, Ext3, Ext4, Xfs };

/// "none", "ext3", "ext4", "xfs"; nothing for any other text.
std::optional<FsType> parse_fs_type(std::string_view name);
std::string_view fs_type_name(FsType type);

struct MkfsOptions {
  FsType type = FsType::Ext4;
  std::uint32_t block_size = 4096;  ///< bytes; what the kernel and mkfs accept
  bool lazy = true;                 ///< leave inode tables to be zeroed later by the kernel (ext only)
  std::string label;                ///< none when empty
};

/// The mkfs command for a partition of this size; pure. Empty for FsType::None.
std::vector<std::string> mkfs_command(const std::string& partition, Bytes size, const MkfsOptions& options);

/// Makes the file system and sets its defaults (tune2fs). Does nothing for FsType::None. The output of the
/// programs goes to the log at LogLevel::Command. ExitCode::Mkfs; the text names the program's last line.
Status make_filesystem(const std::string& partition, const MkfsOptions& options);

/// `e2fsck -p [-f]`: exit statuses below 4 are fine (ExitCode::Fsck otherwise).
Status check_ext_filesystem(const std::string& partition, bool force = false);

}  // namespace ploop::fs
