#include "ops/copy_file.hpp"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/paths.hpp"
#include "base/uuid.hpp"

namespace ploop::ops {
namespace {

constexpr unsigned kMode = 0600;

bool has_no_tmpfile(int error) {
  // EISDIR and ENOENT: kernels or file systems that do not know the flag see an open of the directory.
  return error == EOPNOTSUPP || error == EISDIR || error == ENOENT || error == EINVAL;
}

std::string hidden_name(const std::string& path) {
  std::string uuid = generate_uuid();
  std::erase_if(uuid, [](char c) { return c == '{' || c == '}'; });
  return directory_of(path) + "/." + base_name(path) + ".copy-" + uuid.substr(0, 8);
}

}  // namespace

bool all_zero(std::span<const std::byte> data) {
  return data.empty() ||
         (data[0] == std::byte{0} && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

Status write_at(int fd, std::span<const std::byte> data, std::uint64_t position, const std::string& name) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(position));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(ExitCode::Write, "write to " + name);
    if (n == 0) return fail(errno_error(ExitCode::Write, EIO, "write to " + name));
    data = data.subspan(static_cast<std::size_t>(n));
    position += static_cast<std::uint64_t>(n);
  }
  return {};
}

CopyFile::CopyFile(std::string path, Fd fd, std::string hidden)
    : path_(std::move(path)), fd_(std::move(fd)), hidden_(std::move(hidden)) {}

CopyFile::CopyFile(CopyFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::move(other.fd_)),
      hidden_(std::exchange(other.hidden_, {})),
      length_(other.length_) {}

CopyFile::~CopyFile() {
  if (!hidden_.empty()) ::unlink(hidden_.c_str());
}

Result<CopyFile> CopyFile::create(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0)
    return fail(errno_error(ExitCode::Create, EEXIST, "Can't create " + path));
  Fd nameless{::open(directory_of(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kMode)};
  if (nameless) return CopyFile(path, std::move(nameless), "");
  if (!has_no_tmpfile(errno)) return fail_errno(ExitCode::Create, "Can't create " + path);
  std::string hidden = hidden_name(path);
  Fd fd{::open(hidden.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, kMode)};
  if (!fd) return fail_errno(ExitCode::Create, "Can't create " + path);
  return CopyFile(path, std::move(fd), std::move(hidden));
}

Status CopyFile::put(std::uint64_t position, std::span<const std::byte> data) {
  const std::uint64_t end = position + data.size();
  const bool new_ground = position >= length_;
  length_ = std::max(length_, end);
  if (new_ground && all_zero(data)) return {};
  return write_at(fd_.get(), data, position, path_);
}

Status CopyFile::sync() {
  if (::fdatasync(fd_.get()) != 0) return fail_errno(ExitCode::Write, "make " + path_ + " durable");
  return {};
}

/// Never replaces a file that somebody made meanwhile.
Status CopyFile::give_name() {
  if (hidden_.empty()) {
    const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
    if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0) return {};
    // Without /proc; needs the right to do so.
    if (errno == ENOENT && ::linkat(fd_.get(), "", AT_FDCWD, path_.c_str(), AT_EMPTY_PATH) == 0) return {};
    return fail_errno(ExitCode::Create, "Can't create " + path_);
  }
  if (::renameat2(AT_FDCWD, hidden_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0) {
    hidden_.clear();
    return {};
  }
  // Network file systems may not know the flag; a hard link does not replace either.
  if (errno != EINVAL || ::link(hidden_.c_str(), path_.c_str()) != 0)
    return fail_errno(ExitCode::Create, "Can't create " + path_);
  return {};
}

Status CopyFile::finish() {
  // Zeros at the end were never written.
  if (::ftruncate(fd_.get(), static_cast<off_t>(length_)) != 0)
    return fail_errno(ExitCode::Write, "set the length of " + path_);
  if (::fsync(fd_.get()) != 0) return fail_errno(ExitCode::Write, "make " + path_ + " durable");
  TRY(give_name());
  if (Status synced = sync_parent_directory(path_); !synced) {
    ::unlink(path_.c_str());
    Error error = std::move(synced).error();
    error.code = ExitCode::Write;
    return fail(std::move(error));
  }
  return {};
}

}  // namespace ploop::ops
