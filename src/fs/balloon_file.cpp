#include "fs/balloon_file.hpp"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/log.hpp"
#include "fs/balloon.hpp"

namespace ploop::fs {
namespace {

constexpr unsigned kExtentsAtATime = 256;

}  // namespace

Result<BalloonFile> BalloonFile::open(const std::string& mount_point) {
  const std::string path = mount_point + "/" + std::string(kBalloonName);
  if (!TRY(find_balloon(mount_point))) TRY(create_balloon(mount_point));
  Fd file = TRY(open_file(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, ExitCode::Open));
  struct stat st {};
  if (::fstat(file.get(), &st) != 0) return fail_errno(ExitCode::Open, "stat " + path);
  if (!S_ISREG(st.st_mode)) return fail(ExitCode::Param, path + " is not a regular file");
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return fail(ExitCode::Busy, "Hidden balloon is in use by someone else!");
    return fail_errno(ExitCode::Flock, "lock " + path);
  }
  return BalloonFile(std::move(file), path);
}

Result<Bytes> BalloonFile::size() const {
  struct stat st {};
  if (::fstat(file_.get(), &st) != 0) return fail_errno(ExitCode::Stat, "stat " + name_);
  return Bytes{static_cast<std::uint64_t>(st.st_size)};
}

Result<Bytes> BalloonFile::rounded(Bytes size) const {
  struct stat st {};
  if (::fstat(file_.get(), &st) != 0) return fail_errno(ExitCode::Stat, "stat " + name_);
  return Bytes{round_up(size.value, static_cast<std::uint64_t>(st.st_blksize))};
}

Status BalloonFile::inflate(Bytes old_size, Bytes size) {
  const auto from = static_cast<off_t>(old_size.value);
  if (::fallocate(file_.get(), 0, from, static_cast<off_t>(size.value) - from) != 0) {
    const int err = errno;
    if (::ftruncate(file_.get(), from) != 0)
      log_error("{}: could not be made as small as it was: {}", name_, std::strerror(errno));
    std::string what = "Can't inflate the balloon to " + std::to_string(size.value) + " bytes";
    if (err == EOPNOTSUPP)
      what += ": this file system can't reserve space (ext3); make the disk smaller while it is not attached";
    return fail(errno_error(ExitCode::Fallocate, err, std::move(what)));
  }
  return {};
}

Status BalloonFile::resize(Bytes size) {
  const Bytes old_size = TRY(this->size());
  if (size.value > old_size.value) {
    TRY(inflate(old_size, size));
  } else if (::ftruncate(file_.get(), static_cast<off_t>(size.value)) != 0) {
    return fail_errno(ExitCode::Truncate, "truncate " + name_);
  }
  if (::fsync(file_.get()) != 0) return fail_errno(ExitCode::Fsync, "sync " + name_);
  return {};
}

Result<std::vector<DeviceExtent>> BalloonFile::unwritten(Bytes from) const {
  const Bytes end = TRY(size());
  std::vector<std::byte> memory(sizeof(fiemap) + kExtentsAtATime * sizeof(fiemap_extent));
  std::vector<DeviceExtent> found;
  std::uint64_t position = from.value;
  while (position < end.value) {
    std::ranges::fill(memory, std::byte{0});
    auto* map = reinterpret_cast<fiemap*>(memory.data());
    map->fm_start = position;
    map->fm_length = end.value - position;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kExtentsAtATime;
    if (::ioctl(file_.get(), FS_IOC_FIEMAP, map) != 0)
      return fail_errno(ExitCode::Read, "extents of " + name_);
    if (map->fm_mapped_extents == 0) break;
    for (unsigned i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& e = map->fm_extents[i];
      const std::uint64_t first = std::max<std::uint64_t>(e.fe_logical, position);
      const std::uint64_t last = std::min<std::uint64_t>(e.fe_logical + e.fe_length, end.value);
      position = std::max<std::uint64_t>(position, e.fe_logical + e.fe_length);
      // Any other flag says that the place is not certain, or that something is there.
      if ((e.fe_flags & ~static_cast<__u32>(FIEMAP_EXTENT_LAST)) != FIEMAP_EXTENT_UNWRITTEN || first >= last)
        continue;
      const DeviceExtent extent{e.fe_physical + (first - e.fe_logical), last - first};
      if (!found.empty() && found.back().offset + found.back().length == extent.offset) {
        found.back().length += extent.length;
      } else {
        found.push_back(extent);
      }
    }
  }
  return found;
}

std::vector<DeviceExtent> whole_clusters(const std::vector<DeviceExtent>& extents,
                                         std::uint64_t partition_start, std::uint64_t cluster_bytes) {
  std::vector<DeviceExtent> sorted = extents;
  std::ranges::sort(sorted, {}, &DeviceExtent::offset);
  std::vector<DeviceExtent> out;
  for (std::size_t i = 0; i < sorted.size();) {
    std::uint64_t end = sorted[i].offset + sorted[i].length;
    std::size_t next = i + 1;
    for (; next < sorted.size() && sorted[next].offset <= end; ++next)
      end = std::max(end, sorted[next].offset + sorted[next].length);
    const std::uint64_t first = round_up(partition_start + sorted[i].offset, cluster_bytes);
    const std::uint64_t last = round_down(partition_start + end, cluster_bytes);
    if (first < last) out.push_back({first, last - first});
    i = next;
  }
  return out;
}

Result<Bytes> trim_free_space(const std::string& mount_point, Bytes minimum) {
  const Fd fd = TRY(open_file(mount_point, O_RDONLY | O_DIRECTORY, 0, ExitCode::DeviceIoctl));
  fstrim_range range{0, UINT64_MAX, minimum.value};
  if (::ioctl(fd.get(), FITRIM, &range) != 0)
    return fail_errno(ExitCode::DeviceIoctl, "trim the file system at " + mount_point);
  return Bytes{range.len};
}

}  // namespace ploop::fs
