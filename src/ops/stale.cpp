#include "ops/stale.hpp"

#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/sysfs.hpp"
#include "control/registry.hpp"
#include "fs/holders.hpp"
#include "fs/mount.hpp"
#include "ops/attach.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

using control::DeadDevice;

/// The kernel ends a loop device a moment after its last user; until then it looks used.
constexpr std::chrono::milliseconds kSettleTime{2000};
constexpr std::chrono::milliseconds kSettlePause{20};

/// The device of ours that a mount names as its source; -1 when it names something else.
int number_of_source(const fs::MountPoint& mount) {
  return mount.source.starts_with(device_directory() + "/ploop") ? device_number(mount.source) : -1;
}

/// The kernel's own ploop has names like ours. What is left of ours lies on a loop or ublk device, if
/// anywhere.
bool is_of_another_driver(const fs::MountPoint& mount) {
  std::error_code error;
  const std::string name =
      std::filesystem::read_symlink(sysfs_block_device(mount.device), error).filename().string();
  return !error && !name.starts_with("loop") && !name.starts_with("ublkb");
}

/// Mounts whose source is a device of ours that no live one explains, oldest first.
Result<std::vector<fs::MountPoint>> dead_mounts() {
  std::vector<fs::MountPoint> mounts = TRY(fs::mount_points());
  std::erase_if(mounts,
                [](const fs::MountPoint& m) { return number_of_source(m) < 0 || is_of_another_driver(m); });
  for (const DeviceState& live : TRY(control::list_devices())) {
    const std::vector<fs::MountPoint> own = TRY(mounts_of(live));
    std::erase_if(mounts, [&](const fs::MountPoint& m) {
      // Some file systems show a number of their own instead of the device's; then the name has to do.
      if (major(m.device) == 0) return number_of_source(m) == live.number;
      return std::ranges::any_of(own, [&](const fs::MountPoint& o) { return o.device == m.device; });
    });
  }
  if (mounts.empty()) return mounts;
  // One that another command has just unmounted, with its device, was looked up too late among the live ones.
  const std::vector<fs::MountPoint> now = TRY(fs::mount_points());
  std::erase_if(mounts, [&](const fs::MountPoint& m) {
    return std::ranges::none_of(
        now, [&](const fs::MountPoint& n) { return n.directory == m.directory && n.device == m.device; });
  });
  return mounts;
}

/// Before something of a dead device is unmounted: as long as its block device waits for a daemon that will
/// not come (ublk, when all of the old one's processes were killed), even that would wait.
Result<std::vector<DeadDevice>> end_block_devices() {
  return control::cleanup_stale();
}

Status unmount_dead(const fs::MountPoint& mount) {
  log_error("Warning: {} at {} belonged to a device that died; it is unmounted", mount.source,
            mount.directory);
  // Its users keep what they have open, and get errors, until they end: waiting for them would be for
  // nothing.
  if (::umount2(mount.directory.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
    return fail_errno(ExitCode::Umount, "Failed to umount " + mount.directory);
  }
  return {};
}

/// Unmounts everything of these numbers, last mounted first. True when there was something.
Result<bool> unmount_all(const std::vector<int>& numbers) {
  std::vector<fs::MountPoint> mounts = TRY(dead_mounts());
  std::erase_if(mounts, [&](const fs::MountPoint& m) {
    return std::ranges::find(numbers, number_of_source(m)) == numbers.end();
  });
  for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount)
    TRY(unmount_dead(*mount));
  return !mounts.empty();
}

/// Looks again as long as a device that nobody has mounted is not settled.
std::vector<DeadDevice> settled(Result<std::vector<DeadDevice>> (*look)()) {
  std::vector<DeadDevice> all;
  const auto deadline = std::chrono::steady_clock::now() + kSettleTime;
  for (;;) {
    const auto found = look();
    if (!found) return all;
    bool waiting = false;
    const auto mounts = dead_mounts();
    for (const DeadDevice& dead : *found) {
      std::erase_if(all, [&](const DeadDevice& d) { return d.number == dead.number; });
      all.push_back(dead);
      const bool mounted = mounts && std::ranges::any_of(*mounts, [&](const auto& m) {
                             return number_of_source(m) == dead.number;
                           });
      waiting |= dead.in_use && !mounted;
    }
    if (!waiting || std::chrono::steady_clock::now() >= deadline) return all;
    std::this_thread::sleep_for(kSettlePause);
  }
}

std::string users_of(const DeviceState& state) {
  return fs::describe_holders(fs::block_device_holders(std::array{makedev(state.major, state.minor)}));
}

void warn(const DeadDevice& dead, bool may_clean) {
  const std::string name = device_path(dead.number);
  if (dead.in_use) {
    const std::string users = dead.state ? users_of(*dead.state) : "";
    log_error("Warning: {}: its daemon is gone; what it leaves goes away with its last user{}", name,
              users.empty() ? "" : ": " + users);
  } else if (!may_clean) {
    log_error("Warning: {}: its daemon is gone; 'ploop list' as root cleans up", name);
  } else if (dead.state) {
    log_error("Warning: {}: its daemon is gone; cleaned up (its log: {})", name,
              control::failed_log_path(dead.number));
  } else {
    log_error("Warning: {}: its daemon died while it was attached; cleaned up", name);
  }
}

void warn(const fs::MountPoint& mount) {
  log_error(
      "Warning: {}: its daemon is gone, and the file system at {} has errors only; 'ploop umount -m {}' "
      "takes it away",
      mount.source, mount.directory, mount.directory);
}

}  // namespace

void clean_up_dead_devices() {
  const bool may_clean = ::geteuid() == 0;
  const std::vector<DeadDevice> found = settled(may_clean ? control::cleanup_stale : control::dead_devices);
  const auto mounts = dead_mounts();
  const auto mounted = [&](int number) {
    return mounts && std::ranges::any_of(
                         *mounts, [&](const fs::MountPoint& m) { return number_of_source(m) == number; });
  };
  for (const DeadDevice& dead : found) {
    if (!mounted(dead.number)) warn(dead, may_clean);
  }
  if (!mounts) return;
  for (const fs::MountPoint& mount : *mounts)
    warn(mount);
}

Result<bool> clear_dead_mount(const std::string& directory) {
  bool cleared = false;
  for (auto at = fs::mount_at(directory); at; at = fs::mount_at(directory)) {
    const auto mounts = TRY(dead_mounts());
    const auto same = [&](const fs::MountPoint& m) {
      return m.device == at->device && m.source == at->source;
    };
    if (std::ranges::none_of(mounts, same)) break;
    if (!cleared) TRY(end_block_devices());
    TRY(unmount_dead(*at));
    cleared = true;
  }
  return cleared;
}

Result<bool> clear_dead_device(const std::string& name) {
  const int number = device_number(name);
  if (number < 0 || TRY(control::find_device(number))) return false;
  const std::vector<DeadDevice> found = TRY(end_block_devices());
  const bool had_directory =
      std::ranges::any_of(found, [&](const DeadDevice& d) { return d.number == number; });
  const bool unmounted = TRY(unmount_all({number}));
  settled(control::cleanup_stale);
  if (had_directory && !unmounted)
    log_error("Warning: {}: its daemon is gone; cleaned up", device_path(number));
  return unmounted || had_directory;
}

Result<bool> clear_dead_disk(const std::function<bool(const DeviceState&)>& is_wanted) {
  bool cleared = false;
  for (const DeadDevice& dead : TRY(control::dead_devices())) {
    if (is_wanted(*dead.state)) cleared |= TRY(clear_dead_device(device_path(dead.number)));
  }
  return cleared;
}

}  // namespace ploop::ops
