// Who keeps a file system or a block device busy: a look through /proc in place of lsof, for messages and for
// the decision whether a device may be detached. It sees what the caller may see; root sees everything in its
// pid namespace.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "fs/mount.hpp"

namespace ploop::fs {

struct Holder {
  pid_t pid = 0;
  std::string program;  ///< short name of the process
  std::string how;      ///< "open PATH", "working directory PATH", "mounted at PATH", ...
};

/// A mount in some mount namespace that a process of /proc lives in.
struct NamespaceMount {
  pid_t pid = 0;  ///< one that lives there; 0 for our own namespace
  MountPoint mount;
};
/// Every mount of the block devices in every mount namespace that /proc shows. The directories are names of
/// that namespace.
std::vector<NamespaceMount> mounts_everywhere(std::span<const dev_t> devices);

/// Processes with an open file, working directory, root or mapping inside the mounted file system. Never
/// blocks on a dead server: nothing is asked beyond what the kernel has cached.
std::vector<Holder> file_system_holders(dev_t device);

/// Processes that have one of the block devices open, mount namespaces (named by one process each) in which
/// one is mounted, and other block devices built on one. The calling process and those in `ignore` (the
/// device's own daemon) do not count as openers.
std::vector<Holder> block_device_holders(std::span<const dev_t> devices, std::span<const pid_t> ignore = {});

/// "program(pid): how; ..." in one line, at most `limit` of them; "" when there is none.
std::string describe_holders(const std::vector<Holder>& holders, std::size_t limit = 8);

}  // namespace ploop::fs
