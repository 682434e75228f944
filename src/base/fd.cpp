#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/stat.h>
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

Status write_file_atomic(const std::string& path, std::string_view data, unsigned mode) {
  struct stat old {};
  const bool exists = ::stat(path.c_str(), &old) == 0;
  std::string temporary;
  Fd fd;
  for (int attempt = 0; attempt < 16 && !fd; ++attempt) {
    temporary = directory_of(path) + "/." + base_name(path) + "." + random_name(6);
    const int raw = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                           exists ? old.st_mode & 07777 : mode);
    if (raw >= 0) {
      fd = Fd{raw};
    } else if (errno != EEXIST) {
      return fail_errno(ExitCode::Create, "create " + temporary);
    }
  }
  if (!fd) return fail(ExitCode::Create, "create a temporary file beside " + path);

  Rollback rollback;
  rollback.add([temporary] { ::unlink(temporary.c_str()); });
  if (exists) {
    if (::fchown(fd.get(), old.st_uid, old.st_gid) != 0 && errno != EPERM) {
      return fail_errno(ExitCode::Write, "chown " + temporary);
    }
    if (::fchmod(fd.get(), old.st_mode & 07777) != 0) return fail_errno(ExitCode::Write, "chmod " + temporary);
  }
  TRY(write_all(fd.get(), data, temporary));
  if (::fsync(fd.get()) != 0) return fail_errno(ExitCode::Fsync, "fsync " + temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    return fail_errno(ExitCode::Rename, "rename " + temporary + " to " + path);
  }
  rollback.commit();
  return sync_parent_directory(path);
}

}  // namespace ploop
