// mount.ploop and umount.ploop: what mount(8) and umount(8) run for file systems of type "ploop". They are
// this program under other names, with the arguments and exit statuses of such helpers: 0 done, 1 wrong
// usage, 2 system error, 32 failed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/commands.hpp"

namespace ploop::cli {

/// `mount.ploop XML DIR [-sfnvh] [-o OPTIONS] [-t TYPE]` as asked for.
struct MountHelperArguments {
  ops::MountOptions mount;
  bool fake = false;     ///< -f: everything but the mount
  bool verbose = false;  ///< -v
};
struct UmountHelperArguments {
  ops::UmountOptions umount;
  bool verbose = false;
};

Parsed<MountHelperArguments> parse_mount_helper(const Words& args);
Parsed<UmountHelperArguments> parse_umount_helper(const Words& args);

/// The exit status when the program was started under a helper's name; nothing otherwise.
std::optional<int> run_as_helper(Console& console, std::string_view program, const Words& args);

}  // namespace ploop::cli
