#include "fs/block_device.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/fd.hpp"
#include "fs/mount_table.hpp"

namespace ploop::fs {

Result<BlockDevice> inspect_block_device(const std::string& path) {
  const Fd fd = TRY(open_file(path, O_RDONLY, 0, ExitCode::Device));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return fail_errno(ExitCode::Device, "stat " + path);
  if (!S_ISBLK(st.st_mode)) return fail(ExitCode::Device, path + " is not a block device");
  std::uint64_t bytes = 0;
  int sector_size = 0;
  int read_only = 0;
  if (::ioctl(fd.get(), BLKGETSIZE64, &bytes) != 0) return fail_errno(ExitCode::Device, "size of " + path);
  if (::ioctl(fd.get(), BLKSSZGET, &sector_size) != 0)
    return fail_errno(ExitCode::Device, "sector size of " + path);
  if (::ioctl(fd.get(), BLKROGET, &read_only) != 0) return fail_errno(ExitCode::Device, "mode of " + path);
  return BlockDevice{st.st_rdev, Bytes{bytes}, static_cast<std::uint32_t>(sector_size), read_only != 0};
}

Result<HostFileSystem> host_file_system(const std::string& path) {
  struct stat st {};
  struct statfs fs {};
  if (::stat(path.c_str(), &st) != 0) return fail_errno(ExitCode::Stat, "stat " + path);
  if (::statfs(path.c_str(), &fs) != 0) return fail_errno(ExitCode::Stat, "statfs " + path);
  HostFileSystem host;
  host.device = st.st_dev;
  host.in_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
  host.type = host.in_memory ? "tmpfs" : "unknown";
  // In a chroot the mount may be missing from the table; the answer is then only what statfs knows.
  const PathMount where = TRY(mount_of_path(path));
  for (const MountRow& row : TRY(read_mount_table())) {
    if (row.id != where.id) continue;
    host.type = row.mount.type;
    host.data_writeback = ("," + row.options + ",").find(",data=writeback,") != std::string::npos;
  }
  return host;
}

}  // namespace ploop::fs
