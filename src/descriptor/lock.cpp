#include "descriptor/lock.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ploop::descriptor {
namespace {

constexpr std::chrono::milliseconds kRetry{50};

enum class Attempt { Held, Busy, Failed };

Attempt contention() {
  return errno == EWOULDBLOCK || errno == EAGAIN || errno == EACCES ? Attempt::Busy : Attempt::Failed;
}

/// On NFS flock is emulated with a range lock of the whole file, which would collide with our own second
/// lock.
bool is_nfs(int fd) {
  struct statfs info {};
  return ::fstatfs(fd, &info) == 0 && info.f_type == NFS_SUPER_MAGIC;
}

Attempt lock_once(int fd, bool writable) {
  if (!is_nfs(fd) && ::flock(fd, LOCK_EX | LOCK_NB) != 0) return contention();
  struct flock range {};
  range.l_type = writable ? F_WRLCK : F_RDLCK;
  range.l_whence = SEEK_SET;
  if (::fcntl(fd, F_OFD_SETLK, &range) == 0) return Attempt::Held;
  const Attempt result = contention();
  ::flock(fd, LOCK_UN);
  return result;
}

/// A failed init removes the lock file; whoever waited for it holds a lock on nothing.
bool still_there(int fd, const std::string& path) {
  struct stat opened {};
  struct stat named {};
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

}  // namespace

Result<DescriptorLock> DescriptorLock::acquire(const std::string& descriptor, const LockOptions& options) {
  DescriptorLock lock;
  lock.path_ = descriptor + ".lck";
  std::chrono::milliseconds waited{0};
  bool writable = true;
  for (;;) {
    if (!lock.fd_) {
      const int common = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
      int fd = ::open(lock.path_.c_str(), O_RDWR | O_CREAT | common, 0600);
      if (fd < 0 && errno == EROFS) {
        writable = false;
        fd = ::open(lock.path_.c_str(), O_RDONLY | common);
        if (fd < 0 && errno == ENOENT) return lock;
      }
      if (fd < 0) return fail_errno(ExitCode::Lock, "Can't open lock file " + lock.path_);
      lock.fd_ = Fd{fd};
    }
    const Attempt attempt = lock_once(lock.fd_.get(), writable);
    if (attempt == Attempt::Failed) return fail_errno(ExitCode::Lock, "Can't lock " + lock.path_);
    if (attempt == Attempt::Held && still_there(lock.fd_.get(), lock.path_)) return lock;
    if (attempt == Attempt::Held) {
      lock.fd_.reset();
      continue;
    }
    if (waited >= options.timeout) {
      return fail(errno_error(ExitCode::Lock, EAGAIN, "The " + lock.path_ + " is locked"));
    }
    const auto pause = std::min(kRetry, options.timeout - waited);
    ::poll(nullptr, 0, static_cast<int>(pause.count()));
    waited += pause;
  }
}

void DescriptorLock::remove_file() {
  if (fd_ && still_there(fd_.get(), path_)) ::unlink(path_.c_str());
}

}  // namespace ploop::descriptor
