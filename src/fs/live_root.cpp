#include "fs/live_root.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <vector>

#include "base/sysfs.hpp"
#include "fs/block_device.hpp"
#include "fs/detached_mount.hpp"
#include "fs/holders.hpp"
#include "fs/mount.hpp"

namespace ploop::fs {
namespace {

namespace stdfs = std::filesystem;

/// Without asking a server that may not answer.
bool lies_on(int fd, dev_t number) {
  struct statx st = {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) != 0)
    return false;
  return S_ISDIR(st.stx_mode) && makedev(st.stx_dev_major, st.stx_dev_minor) == number;
}

/// What the directory leads to, if that is on the device. Looked at before it is opened: it may be anything.
Fd open_root_at(const std::string& directory, dev_t number) {
  const Fd place{::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  if (!place || !lies_on(place.get(), number)) return {};
  return Fd{::openat(place.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
}

/// Types under which it may be mounted, as far as a file system shows its life in sysfs; that also covers a
/// mount that no namespace has any more.
std::vector<std::string> types_in_sysfs(dev_t number) {
  std::error_code error;
  const stdfs::path link = stdfs::read_symlink(sysfs_block_device(number), error);
  if (error) return {};
  const std::string name = link.filename().string();
  if (stdfs::exists("/sys/fs/xfs/" + name, error)) return {"xfs"};
  if (stdfs::exists("/sys/fs/ext4/" + name, error)) return {"ext4", "ext3", "ext2"};  // one driver
  return {};
}

/// Empty when it is mounted nowhere.
std::vector<std::string> live_types(dev_t number) {
  std::vector<std::string> types = types_in_sysfs(number);
  for (NamespaceMount& found : mounts_everywhere(std::span(&number, 1))) {
    if (std::ranges::find(types, found.mount.type) == types.end())
      types.push_back(std::move(found.mount.type));
  }
  return types;
}

/// Read-only comes first: what is mounted writable refuses it, and what is not mounted any more is not
/// written to.
Result<Fd> another_mount(const std::string& node, const std::vector<std::string>& types) {
  Error last;
  for (const bool read_only : {true, false}) {
    for (const std::string& type : types) {
      auto mount = DetachedMount::join(node, type, read_only);
      if (mount) return duplicate(mount->root());
      last = std::move(mount).error();
    }
  }
  return fail(std::move(last));
}

}  // namespace

std::string LiveRoot::directory() const {
  return is_here_ ? name_ : "/proc/self/fd/" + std::to_string(fd_.get());
}

Result<std::optional<LiveRoot>> LiveRoot::find(const std::string& node, dev_t number) {
  for (const MountPoint& mount : TRY(mount_points_of(number))) {
    if (mount.root != "/") continue;
    if (Fd fd = open_root_at(mount.directory, number)) return LiveRoot(std::move(fd), mount.directory, true);
  }
  const std::vector<std::string> types = live_types(number);
  if (types.empty()) return std::nullopt;
  if (TRY(inspect_block_device(node)).number != number)
    return fail(ExitCode::Mount, node + " is not the device's node any more");
  Fd fd = TRY(another_mount(node, types));
  if (!lies_on(fd.get(), number))
    return fail(ExitCode::Mount, "The file system on " + node + " can't be reached");
  return LiveRoot(std::move(fd), node, false);
}

}  // namespace ploop::fs
