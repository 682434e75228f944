#include "descriptor/store.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/xml.hpp"

namespace ploop::descriptor {

Result<std::string> resolve(const std::string& path) {
  return canonical_path(path, ExitCode::Descriptor);
}

Result<Disk> load(const std::string& path) {
  const std::string canonical = TRY(resolve(path));
  // O_NONBLOCK: a FIFO of that name must not hang us.
  const Fd fd = TRY(open_file(canonical, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0, ExitCode::Descriptor));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_errno(ExitCode::Descriptor, "stat " + canonical);
  if (!S_ISREG(info.st_mode)) return fail(ExitCode::Descriptor, canonical + " is no regular file");
  if (static_cast<std::uint64_t>(info.st_size) > kMaxFileBytes) {
    return fail(ExitCode::Lock, "Can't parse " + canonical + ": the file is too large");
  }
  const auto content = read_all(fd.get(), kMaxFileBytes, canonical);
  if (!content) return fail(Error{ExitCode::Descriptor, content.error().sys_errno, content.error().what});
  return TRY_CONTEXT("Can't parse " + canonical, parse(*content, directory_of(canonical)));
}

Status store(Disk& disk, const std::string& path, const std::string& like) {
  if (disk.old_format()) {
    log(LogLevel::Progress, "{} is in old format: converting", path);
    log(LogLevel::Progress, "Changing {} to {}", disk.top_uuid, kTopUuid);
    TRY(convert_old_format(disk));
  }
  TRY(validate(disk));
  log(LogLevel::Progress, "Storing {}", path);
  return write_file_atomic(path, serialize(disk), 0644, like);
}

Result<Locked> lock_and_load(const std::string& path, const LockOptions& options) {
  std::string canonical = TRY(resolve(path));
  DescriptorLock lock = TRY(DescriptorLock::acquire(canonical, options));
  Disk disk = TRY(load(canonical));
  return Locked{std::move(lock), std::move(canonical), std::move(disk)};
}

}  // namespace ploop::descriptor
