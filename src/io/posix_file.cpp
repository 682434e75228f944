#include "io/posix_file.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "base/units.hpp"

namespace ploop::io {
namespace {

bool is_memory_file_system(int fd) {
  struct statfs fs {};
  return ::fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/// True when direct I/O works at sector granularity. Kernels before 6.1 don't tell; there the open itself
/// decides.
bool direct_io_takes_sectors(int fd) {
  struct statx sx {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) != 0 || (sx.stx_mask & STATX_DIOALIGN) == 0)
    return true;
  return sx.stx_dio_offset_align != 0 && sx.stx_dio_offset_align <= kSectorSize;
}

/// By what `file` names in /proc/self/fd it is the same file, whatever happens to the name.
std::string self_path(const Fd& file) {
  return "/proc/self/fd/" + std::to_string(file.get());
}

/// With the second descriptor, if it is wanted.
Result<PosixDescriptors> complete(Fd cached, const std::string& name, const PosixOpenOptions& options) {
  PosixDescriptors file;
  file.cached = std::move(cached);
  struct stat st {};
  if (file_status(file.cached.get(), st) != 0) return fail_errno(ExitCode::Stat, "stat " + name);
  if (!S_ISREG(st.st_mode)) return fail(ExitCode::Open, name + " is not a regular file");
  if (options.direct && !is_memory_file_system(file.cached.get()) &&
      direct_io_takes_sectors(file.cached.get())) {
    file.direct = Fd{::open(self_path(file.cached).c_str(),
                            (options.writable ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC)};
  }
  return file;
}

}  // namespace

Result<PosixDescriptors> open_descriptors(const std::string& path, const PosixOpenOptions& options) {
  int flags = options.writable ? O_RDWR : O_RDONLY;
  if (options.exclusive_create) flags |= O_CREAT | O_EXCL;
  if (options.exclusive_create || !options.follow) flags |= O_NOFOLLOW;
  // O_NONBLOCK: opening a FIFO that somebody put there must not wait for its other end.
  return complete(TRY(open_file(path, flags | O_NONBLOCK, 0600,
                                options.exclusive_create ? ExitCode::Create : ExitCode::Open)),
                  path, options);
}

Result<PosixDescriptors> reopen_descriptors(const Fd& file, const std::string& name,
                                            const PosixOpenOptions& options) {
  Fd cached{::open(self_path(file).c_str(), (options.writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC)};
  if (!cached) return fail_errno(ExitCode::Open, "open " + name);
  return complete(std::move(cached), name, options);
}

Result<std::unique_ptr<PosixFile>> PosixFile::open(const std::string& path, const PosixOpenOptions& options) {
  return adopt(path, TRY(open_descriptors(path, options)));
}

Result<std::unique_ptr<PosixFile>> PosixFile::adopt(std::string name, PosixDescriptors descriptors) {
  std::unique_ptr<PosixFile> file(new PosixFile);
  struct stat st {};
  if (file_status(descriptors.cached.get(), st) != 0) return fail_errno(ExitCode::Stat, "stat " + name);
  if (!S_ISREG(st.st_mode)) return fail(ExitCode::Open, name + " is not a regular file");
  file->device_ = st.st_dev;
  file->inode_ = st.st_ino;
  if (descriptors.direct) {
    const bool known = file_status(descriptors.direct.get(), st) == 0;
    if (!known || st.st_dev != file->device_ || st.st_ino != file->inode_)
      return fail(ExitCode::Open, name + " is another file now");
  }
  file->name_ = std::move(name);
  file->immediate_ = is_memory_file_system(descriptors.cached.get());
  file->fd_ = std::move(descriptors.cached);
  file->direct_ = std::move(descriptors.direct);
  return file;
}

Result<bool> PosixFile::try_lock(LockKind kind) {
  struct flock lock {};
  lock.l_type = kind == LockKind::Exclusive ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(native_handle(), F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return fail_errno(ExitCode::Lock, "lock " + name_);
}

Result<bool> PosixFile::lock_soon(LockKind kind) {
  constexpr auto kPatience = std::chrono::seconds(2);
  constexpr auto kPause = std::chrono::milliseconds(10);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!TRY(try_lock(kind))) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

Status PosixFile::unlock() {
  struct flock lock {};
  lock.l_type = F_UNLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(native_handle(), F_OFD_SETLK, &lock) != 0) return fail_errno(ExitCode::Lock, "unlock " + name_);
  return {};
}

std::int64_t PosixFile::read(std::span<std::byte> data, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        ::pread(fd_.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<std::int64_t>(done);
}

std::int64_t PosixFile::write(std::span<const std::byte> data, std::uint64_t offset) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t n =
        ::pwrite(fd_.get(), data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) return -EIO;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<std::int64_t>(done);
}

int PosixFile::sync() {
  return ::fdatasync(fd_.get()) == 0 ? 0 : -errno;
}

int PosixFile::truncate(std::uint64_t size) {
  return ::ftruncate(fd_.get(), static_cast<off_t>(size)) == 0 ? 0 : -errno;
}

int PosixFile::allocate(std::uint64_t offset, std::uint64_t length) {
  return ::fallocate(fd_.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0 ? 0 : -errno;
}

int PosixFile::punch(std::uint64_t offset, std::uint64_t length) {
  return ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(length)) == 0
             ? 0
             : -errno;
}

int PosixFile::clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                     std::uint64_t length) {
  file_clone_range range{};
  range.src_fd = source.native_handle();
  if (range.src_fd < 0) return -EXDEV;
  range.src_offset = source_offset;
  range.src_length = length;
  range.dest_offset = offset;
  return ::ioctl(fd_.get(), FICLONERANGE, &range) == 0 ? 0 : -errno;
}

int PosixFile::copy(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                    std::uint64_t length) {
  auto* const other = dynamic_cast<PosixFile*>(&source);
  if (other == nullptr) return -EOPNOTSUPP;
  auto from = static_cast<off_t>(source_offset);
  if (::lseek(other->fd_.get(), from, SEEK_HOLE) < from + static_cast<off_t>(length)) return -EOPNOTSUPP;
  auto to = static_cast<off_t>(offset);
  for (std::uint64_t left = length; left > 0;) {
    const ssize_t n = ::copy_file_range(other->fd_.get(), &from, fd_.get(), &to, left, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && left == length)
      return errno == ENOSPC || errno == EDQUOT || errno == EIO ? -errno : -EOPNOTSUPP;
    if (n <= 0) return n < 0 ? -errno : -EIO;
    left -= static_cast<std::uint64_t>(n);
  }
  // So that the next barrier finds little to do. Where it can't be, the barrier does it.
  ::sync_file_range(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(length), SYNC_FILE_RANGE_WRITE);
  return 0;
}

std::int64_t PosixFile::size() {
  struct stat st {};
  return file_status(fd_.get(), st) == 0 ? st.st_size : -errno;
}

}  // namespace ploop::io
