#include "fs/usage.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/fd.hpp"

namespace ploop::fs {
namespace {

/// The file is these five numbers in the byte order of the host, as other software writes and reads it.
using Record = std::array<std::uint64_t, 5>;
static_assert(sizeof(Record) == 40);

bool plausible(const Usage& u) {
  return u.block_size != 0 && u.free_blocks <= u.blocks && u.free_inodes <= u.inodes &&
         u.blocks <= UINT64_MAX / u.block_size;
}

}  // namespace

Result<Usage> read_usage(const std::string& mount_point) {
  struct statfs fs {};
  if (::statfs(mount_point.c_str(), &fs) != 0) return fail_errno(ExitCode::Stat, "statfs " + mount_point);
  return Usage{static_cast<std::uint64_t>(fs.f_bsize), fs.f_blocks, fs.f_bfree, fs.f_files, fs.f_ffree};
}

std::string usage_cache_path(const std::string& directory) {
  return directory + "/.statfs";
}

Result<std::optional<Usage>> load_usage_cache(const std::string& directory) {
  const std::string path = usage_cache_path(directory);
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (!fd) {
    if (errno == ENOENT || errno == ELOOP) return std::nullopt;
    return fail_errno(ExitCode::Read, "open " + path);
  }
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return fail_errno(ExitCode::Read, "stat " + path);
  Record r{};
  if (!S_ISREG(st.st_mode) || st.st_size != static_cast<off_t>(sizeof r)) return std::nullopt;
  const ssize_t n = ::pread(fd.get(), r.data(), sizeof r, 0);
  if (n < 0) return fail_errno(ExitCode::Read, "read " + path);
  const Usage usage{r[0], r[1], r[2], r[3], r[4]};
  if (n != static_cast<ssize_t>(sizeof r) || !plausible(usage)) return std::nullopt;
  return usage;
}

Status store_usage_cache(const std::string& directory, const Usage& usage) {
  const Record r{usage.block_size, usage.blocks, usage.free_blocks, usage.inodes, usage.free_inodes};
  std::string bytes(sizeof r, '\0');
  std::memcpy(bytes.data(), r.data(), sizeof r);
  return write_file_atomic(usage_cache_path(directory), bytes, S_IRUSR | S_IWUSR);
}

Status remove_usage_cache(const std::string& directory) {
  const std::string path = usage_cache_path(directory);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(ExitCode::Unlink, "remove " + path);
  return {};
}

}  // namespace ploop::fs
