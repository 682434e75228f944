#include "daemon/live_map.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/registry.hpp"
#include "engine/device.hpp"

namespace ploop::daemon {

Result<Fd> make_map_file(int number) {
  struct statfs fs {};
  if (::statfs(device_run_directory(number).c_str(), &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
    return open_file(control::map_path(number), O_RDWR | O_CREAT | O_EXCL, 0600, ExitCode::Create);
  }
  Fd file{::memfd_create("ploop-map", MFD_CLOEXEC)};
  if (!file) return fail_errno(ExitCode::Create, "make the cluster map's memory");
  return file;
}

Result<LiveMap> LiveMap::create(int fd, std::uint64_t bytes) {
  // Space is taken now: a full /run must not become a SIGBUS in the middle of a write.
  const auto length = static_cast<off_t>(bytes);
  if (::ftruncate(fd, 0) != 0 || ::ftruncate(fd, length) != 0 || ::posix_fallocate(fd, 0, length) != 0) {
    return fail(ExitCode::Malloc, "No space for the cluster map in the runtime directory");
  }
  return map(fd, bytes);
}

Result<LiveMap> LiveMap::adopt(int fd, std::uint64_t bytes) {
  struct stat file {};
  if (file_status(fd, file) != 0) return fail_errno(ExitCode::Stat, "stat the cluster map");
  // Longer when the worker died while it was making the device larger.
  if (static_cast<std::uint64_t>(file.st_size) < bytes) {
    return fail(ExitCode::Format, "The cluster map that was left belongs to another device");
  }
  return map(fd, bytes);
}

Result<LiveMap> LiveMap::adopt_or_create(int fd, std::uint64_t bytes) {
  Result<LiveMap> left = adopt(fd, bytes);
  if (left && engine::Device::map_is_live(left->memory())) return left;
  return create(fd, bytes);
}

Result<LiveMap> LiveMap::map(int fd, std::uint64_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (memory == MAP_FAILED) return fail_errno(ExitCode::Malloc, "map the cluster map");
  if (::mlock(memory, bytes) != 0) log(LogLevel::Detail, "Can't lock the cluster map into memory");
  return LiveMap(fd, {static_cast<std::byte*>(memory), bytes});
}

Status LiveMap::grow(std::uint64_t bytes) {
  if (bytes <= memory_.size()) return {};
  if (::posix_fallocate(fd_, 0, static_cast<off_t>(bytes)) != 0) {
    return fail(ExitCode::Malloc, "No space for a larger cluster map in the runtime directory");
  }
  void* memory = ::mremap(memory_.data(), memory_.size(), bytes, MREMAP_MAYMOVE);
  if (memory == MAP_FAILED) return fail_errno(ExitCode::Malloc, "enlarge the cluster map");
  memory_ = {static_cast<std::byte*>(memory), bytes};
  if (::mlock(memory, bytes) != 0) log(LogLevel::Detail, "Can't lock the cluster map into memory");
  return {};
}

LiveMap::~LiveMap() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

}  // namespace ploop::daemon
