#include "fs/balloon.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"
#include "base/log.hpp"

namespace ploop::fs {
namespace {

std::string balloon_path(const std::string& mount_point) {
  return mount_point + "/" + std::string(kBalloonName);
}

}  // namespace

Status create_balloon(const std::string& mount_point) {
  const std::string path = balloon_path(mount_point);
  log(LogLevel::Progress, "Creating balloon file {}", kBalloonName);
  const Fd fd =
      TRY(open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, S_IRUSR | S_IWUSR, ExitCode::Create));
  // A set-group-id root directory or an odd umask must not show in the file.
  if (::fchown(fd.get(), 0, 0) != 0 || ::fchmod(fd.get(), S_IRUSR | S_IWUSR) != 0)
    return fail_errno(ExitCode::Create, "set owner and mode of " + path);
  if (::fsync(fd.get()) != 0) return fail_errno(ExitCode::Create, "sync " + path);
  return sync_parent_directory(path);
}

Result<std::optional<Balloon>> find_balloon(const std::string& mount_point) {
  const std::string path = balloon_path(mount_point);
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return std::nullopt;
    return fail_errno(ExitCode::Stat, "stat " + path);
  }
  if (!S_ISREG(st.st_mode)) return fail(ExitCode::Param, path + " is not a regular file");
  return Balloon{st.st_ino, Bytes{static_cast<std::uint64_t>(st.st_size)}};
}

}  // namespace ploop::fs
