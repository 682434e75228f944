// A mount for the length of one scope; see mount.hpp.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/log.hpp"
#include "fs/mount.hpp"

namespace ploop::fs {
namespace {

/// The directory may be left over from a command that was killed; then it is used again.
Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), S_IRWXU) == 0) return {};
  const int err = errno;
  struct stat st {};
  if (err == EEXIST && ::lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && !is_mount_point(path))
    return {};
  return fail(errno_error(ExitCode::Mkdir, err, "make directory " + path));
}

}  // namespace

Result<TemporaryMount> TemporaryMount::create(const MountRequest& request) {
  TRY(make_directory(request.directory));
  Status mounted = mount_filesystem(request);
  if (!mounted) {
    ::rmdir(request.directory.c_str());
    return fail(std::move(mounted).error());
  }
  return TemporaryMount(request.directory);
}

TemporaryMount::TemporaryMount(TemporaryMount&& other) noexcept
    : directory_(std::exchange(other.directory_, {})) {}

TemporaryMount::~TemporaryMount() {
  if (const Status closed = close(); !closed) log_error("{}", closed.error().message());
}

Status TemporaryMount::close() {
  if (directory_.empty()) return {};
  const std::string directory = std::exchange(directory_, {});
  TRY(unmount_filesystem(directory));
  // Not empty means that somebody put something under the mount; that is theirs.
  ::rmdir(directory.c_str());
  return {};
}

}  // namespace ploop::fs
