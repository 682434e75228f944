#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/paths.hpp"
#include "base/random.hpp"

namespace ploop {

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<Fd> open_file(const std::string& path, int flags, unsigned mode, ExitCode code) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return fail_errno(code, "open " + path);
  return Fd{fd};
}

int file_status(int fd, struct stat& status) {
#if defined(__x86_64__) || defined(__aarch64__)
  // The library's structure is the kernel's here.
  return static_cast<int>(::syscall(SYS_fstat, fd, &status));
#else
  return ::fstat(fd, &status);
#endif
}

Result<Fd> duplicate(const Fd& fd) {
  const int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return fail_errno(ExitCode::System, "dup");
  return Fd{copy};
}

Result<std::string> read_all(int fd, std::size_t limit, const std::string& name) {
  std::string out;
  char buf[16384];
  for (;;) {
    const ssize_t n = ::read(fd, buf, sizeof buf);
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail_errno(ExitCode::Read, "read " + name);
    }
    if (n == 0) return out;
    out.append(buf, static_cast<std::size_t>(n));
    if (out.size() > limit) {
      return fail(ExitCode::Read, name + " is larger than " + std::to_string(limit) + " bytes");
    }
  }
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  const Fd fd = TRY(open_file(path, O_RDONLY));
  return read_all(fd.get(), limit, path);
}

Status write_all(int fd, std::span<const std::byte> data, const std::string& name) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail_errno(ExitCode::Write, "write " + name);
    }
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status write_all(int fd, std::string_view data, const std::string& name) {
  return write_all(fd, std::as_bytes(std::span(data)), name);
}

Status sync_parent_directory(const std::string& path) {
  const std::string dir = directory_of(path);
  const Fd fd = TRY(open_file(dir, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return fail_errno(ExitCode::Fsync, "fsync " + dir);
  return {};
}

namespace {

/// A file without a name in the directory: whoever is killed while it is written leaves nothing. An invalid
/// one where the file system can't.
Fd open_nameless(const std::string& directory, unsigned mode) {
  return Fd{::open(directory.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, mode)};
}

/// Gives it a name that nobody has yet.
bool give_name(const Fd& fd, const std::string& name) {
  const std::string self = "/proc/self/fd/" + std::to_string(fd.get());
  return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

std::string temporary_name(const std::string& path) {
  return directory_of(path) + "/." + base_name(path) + "." + random_name(6);
}

/// A new file of a random name beside `path`.
Result<Fd> create_temporary(const std::string& path, unsigned mode, std::string& temporary) {
  for (int attempt = 0; attempt < 16; ++attempt) {
    temporary = temporary_name(path);
    const int raw = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (raw >= 0) return Fd{raw};
    if (errno != EEXIST) return fail_errno(ExitCode::Create, "create " + temporary);
  }
  return fail(ExitCode::Create, "create a temporary file beside " + path);
}

/// Content, owner and mode, durable.
Status fill(const Fd& fd, std::string_view data, const struct stat* old, const std::string& name) {
  if (old != nullptr) {
    if (::fchown(fd.get(), old->st_uid, old->st_gid) != 0 && errno != EPERM) {
      return fail_errno(ExitCode::Write, "chown " + name);
    }
    if (::fchmod(fd.get(), old->st_mode & 07777) != 0) return fail_errno(ExitCode::Write, "chmod " + name);
  }
  TRY(write_all(fd.get(), data, name));
  if (::fsync(fd.get()) != 0) return fail_errno(ExitCode::Fsync, "fsync " + name);
  return {};
}

}  // namespace

Status write_file_atomic(const std::string& path, std::string_view data, unsigned mode,
                         const std::string& like) {
  struct stat info {};
  const struct stat* old = ::stat((like.empty() ? path : like).c_str(), &info) == 0 ? &info : nullptr;
  if (old != nullptr) mode = info.st_mode & 07777;
  std::string temporary = temporary_name(path);
  Rollback rollback;
  const Fd nameless = open_nameless(directory_of(path), mode);
  if (nameless) TRY(fill(nameless, data, old, temporary));
  const bool named = nameless && give_name(nameless, temporary);
  if (!named) {
    const Fd fd = TRY(create_temporary(path, mode, temporary));
    rollback.add([temporary] { ::unlink(temporary.c_str()); });
    TRY(fill(fd, data, old, temporary));
  } else {
    rollback.add([temporary] { ::unlink(temporary.c_str()); });
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return fail_errno(ExitCode::Rename, "rename " + temporary + " to " + path);
  }
  rollback.commit();
  return sync_parent_directory(path);
}

}  // namespace ploop
