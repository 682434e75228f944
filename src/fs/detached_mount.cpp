#include "fs/detached_mount.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "fs/mount.hpp"

namespace ploop::fs {
namespace {

int set_string(int context, const char* key, const char* value) {
  return static_cast<int>(::syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0));
}
int set_flag(int context, const char* key) {
  return static_cast<int>(::syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, key, nullptr, 0));
}
int create_superblock(int context) {
  return static_cast<int>(::syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0));
}

/// What the kernel wrote down about the failure: "e text" lines, one per read.
std::string kernel_messages(int context) {
  std::string all;
  char line[512];
  for (;;) {
    const ssize_t n = ::read(context, line, sizeof line);
    if (n <= 0) return all;
    std::string text(line, static_cast<std::size_t>(n));
    if (text.size() > 2 && text[1] == ' ') text.erase(0, 2);
    std::ranges::replace(text, '\n', ' ');
    while (!text.empty() && text.back() == ' ')
      text.pop_back();
    all += (all.empty() ? "" : "; ") + text;
  }
}

tl::unexpected<Error> cannot_mount(int context, int error, const std::string& device) {
  std::string reason = kernel_messages(context);
  return fail(errno_error(
      ExitCode::Mount, error,
      "Can't mount file system " + device + (reason.empty() ? "" : " (" + std::move(reason) + ")")));
}

Status set_options(int context, const std::string& options, const std::string& device) {
  std::size_t at = 0;
  while (at < options.size()) {
    const std::size_t end = std::min(options.find(',', at), options.size());
    const std::string word = options.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    const std::size_t equals = word.find('=');
    const int rc = equals == std::string::npos
                       ? set_flag(context, word.c_str())
                       : set_string(context, word.substr(0, equals).c_str(), word.substr(equals + 1).c_str());
    if (rc != 0) return cannot_mount(context, errno, device);
  }
  return {};
}

}  // namespace

std::string untouched_options(const std::string& type) {
  if (type == "xfs") return "norecovery";
  if (type == "ext3" || type == "ext4") return "noload";
  return "";
}

DetachedMount::DetachedMount(Fd root, std::string device, std::string type)
    : root_(std::move(root)), device_(std::move(device)), type_(std::move(type)) {}

Result<DetachedMount> DetachedMount::create(const std::string& device, std::string type,
                                            const std::string& options, bool read_only) {
  if (type.empty()) {
    type = TRY(detect_filesystem(device));
    if (type.empty())
      return fail(ExitCode::Mount, "Can't mount file system: no known file system on " + device);
  }
  log(LogLevel::Command, "Mounting {} without a mount point fstype={} data='{}' {}", device, type, options,
      read_only ? "ro" : "");
  return make(device, std::move(type), options, read_only);
}

Result<DetachedMount> DetachedMount::join(const std::string& device, const std::string& type,
                                          bool read_only) {
  // The options of who mounted it stay. Should the file system be unmounted just now, nothing is written.
  return make(device, type, read_only ? untouched_options(type) : "", read_only);
}

Result<DetachedMount> DetachedMount::make(const std::string& device, std::string type,
                                          const std::string& options, bool read_only) {
  const Fd context{static_cast<int>(::syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC))};
  if (!context) return fail_errno(ExitCode::Mount, "Can't mount file system of type " + type);
  if (set_string(context.get(), "source", device.c_str()) != 0)
    return cannot_mount(context.get(), errno, device);
  if (read_only && set_flag(context.get(), "ro") != 0) return cannot_mount(context.get(), errno, device);
  TRY(set_options(context.get(), options, device));
  // Copies and snapshots of a disk share the UUID of its file system and are mounted side by side.
  if (type == "xfs" && set_flag(context.get(), "nouuid") != 0)
    return cannot_mount(context.get(), errno, device);
  if (create_superblock(context.get()) != 0) return cannot_mount(context.get(), errno, device);
  const unsigned attributes = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME |
                              (read_only ? MOUNT_ATTR_RDONLY : 0U);
  const Fd mount{static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, attributes))};
  if (!mount) return cannot_mount(context.get(), errno, device);
  // The mount's own descriptor only names it; ioctls need one that is open. Opening the root keeps the mount,
  // but the first descriptor to close dissolves a mount that is nowhere attached, so that one is kept and the
  // other goes.
  Fd root{::openat(mount.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!root) return fail_errno(ExitCode::Mount, "open the root of the file system on " + device);
  return DetachedMount(std::move(root), device, std::move(type));
}

std::string DetachedMount::directory() const {
  return "/proc/self/fd/" + std::to_string(root_.get());
}

Status DetachedMount::close() {
  if (!root_) return {};
  const int rc = ::syncfs(root_.get());
  const int err = errno;
  root_.reset();
  if (rc != 0) return fail(errno_error(ExitCode::Fsync, err, "write back the file system on " + device_));
  return {};
}

}  // namespace ploop::fs
