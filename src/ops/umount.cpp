#include "ops/umount.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/registry.hpp"
#include "descriptor/store.hpp"
#include "fs/usage.hpp"
#include "ops/attach.hpp"
#include "ops/recover.hpp"
#include "ops/running.hpp"
#include "ops/space_watch.hpp"
#include "ops/stale.hpp"

namespace ploop::ops {
namespace {

/// What is known about the device that goes.
struct Target {
  DeviceState device;
  std::string mount_point;      ///< the one to unmount; "" means the oldest
  std::string cache_directory;  ///< where the usage cache goes; "" for none
};

Result<Target> find_by_directory(const std::string& directory) {
  const auto mount = fs::mount_at(directory);
  if (mount) {
    for (DeviceState& device : TRY(control::list_devices())) {
      const auto mounts = mounts_of(device);
      const bool ours = mounts && std::ranges::any_of(*mounts, [&](const fs::MountPoint& m) {
                          return m.device == mount->device;
                        });
      if (ours) return Target{std::move(device), mount->directory, ""};
    }
  }
  return fail(ExitCode::Param, "Unable to find ploop device by " + directory);
}

Result<Target> find_by_image(const std::string& image, const std::string& component) {
  auto device = with_component(TRY(devices_with_base(image)), component);
  if (!device) return fail(ExitCode::Param, "Image " + image + " is not mounted");
  return Target{*std::move(device), "", ""};
}

Result<Target> find_by_descriptor(const descriptor::Locked& locked, const std::string& component) {
  auto device = with_component(TRY(devices_of(locked.disk, locked.path)), component);
  if (!device)
    return fail(ExitCode::NotMounted, "Image " + locked.disk.first_image().file + " is not mounted");
  return Target{*std::move(device), "", component.empty() ? locked.disk.directory : ""};
}

Result<bool> is_mounted_at(const DeviceState& device, const std::string& directory) {
  const std::vector<fs::MountPoint> mounts = TRY(mounts_of(device));
  return std::ranges::any_of(mounts, [&](const fs::MountPoint& m) { return m.directory == directory; });
}

/// Further mounts keep the device busy, which is better said at once.
Status refuse_mounted(const control::DeviceState& device, const std::vector<fs::MountPoint>& mounts) {
  if (mounts.empty()) return {};
  std::string where;
  for (const fs::MountPoint& m : mounts)
    where += " " + m.directory;
  return fail(ExitCode::DeviceIoctl,
              device_name(device) + " is still mounted at" + where + ": unmount that, then repeat");
}

/// Unmounts one file system and gives its last usage.
Result<std::optional<fs::Usage>> unmount_one(const Target& target) {
  const std::vector<fs::MountPoint> mounts = TRY(mounts_of(target.device));
  if (mounts.empty()) return std::nullopt;
  const auto wanted = std::ranges::find_if(mounts, [&](const fs::MountPoint& m) {
    return target.mount_point.empty() ? fs::is_on_top(m) : m.directory == target.mount_point;
  });
  if (wanted == mounts.end() && !target.mount_point.empty()) {  // another command was faster
    TRY(refuse_mounted(target.device, mounts));
    return std::nullopt;
  }
  const fs::MountPoint& mount = wanted == mounts.end() ? mounts.front() : *wanted;
  const auto usage =
      fs::is_on_top(mount) ? fs::read_usage(mount.directory) : fail(ExitCode::Stat, mount.directory);
  Status unmounted = fs::unmount_filesystem(mount);
  if (!unmounted && !TRY(is_mounted_at(target.device, mount.directory)))
    unmounted = {};  // another command was faster
  if (!unmounted) {
    Error error = std::move(unmounted).error();
    if (error.sys_errno == EBUSY) error.code = ExitCode::UmountBusy;
    return fail(std::move(error));
  }
  const std::vector<fs::MountPoint> rest = TRY(mounts_of(target.device));
  TRY(refuse_mounted(target.device, rest));
  return usage ? std::optional(*usage) : std::nullopt;
}

/// Nothing here is undone on failure, so a signal may end it at any point: the next umount goes on from
/// there.
Status take_down(const Target& target) {
  const SpaceWatch watch(target.device);
  const std::optional<fs::Usage> usage = TRY(unmount_one(target));
  TRY(detach(target.device));
  // Only now nothing can change the numbers any more.
  if (usage && !target.cache_directory.empty()) {
    ignore(fs::store_usage_cache(target.cache_directory, *usage), "the cache only saves time");
  }
  return {};
}

}  // namespace

Status umount(const UmountOptions& options) {
  if (!options.device.empty()) {
    if (TRY(clear_dead_device(options.device))) return {};
    return take_down({TRY(device_by_name(options.device)), "", ""});
  }
  if (!options.directory.empty()) {
    if (TRY(clear_dead_mount(options.directory))) {
      clean_up_dead_devices();
      return {};
    }
    return take_down(TRY(find_by_directory(options.directory)));
  }
  if (!descriptor::is_descriptor_name(options.target)) {
    auto target = find_by_image(options.target, options.component);
    const NamedFile base(options.target);
    const auto is_wanted = [&](const DeviceState& d) {
      return !d.deltas.empty() && is_level(d.deltas.front(), base);
    };
    if (!target && TRY(clear_dead_disk(is_wanted))) return {};
    return take_down(TRY(std::move(target)));
  }
  const descriptor::Locked locked = TRY(open_disk(options.target, {.recovery = Recovery::BestEffort}));
  auto found = find_by_descriptor(locked, options.component);
  const DiskNames names(locked.disk, locked.path);
  if (!found && TRY(clear_dead_disk([&](const DeviceState& d) { return names.has(d); }))) return {};
  const Target target = TRY(std::move(found));
  TRY(take_down(target));
  // Left by a command that mounted the disk for itself and was killed; one with content is somebody else's.
  // The name comes from the device: the descriptor's may lead anywhere.
  if (!target.device.deltas.empty()) ::rmdir((target.device.deltas.front().path + ".mnt").c_str());
  return {};
}

}  // namespace ploop::ops
