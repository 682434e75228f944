#include "ops/mounted_target.hpp"

#include <optional>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/registry.hpp"
#include "fs/detached_mount.hpp"
#include "fs/mount.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/prepare.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {
namespace {

Result<DeviceState> named_device(const std::string& name) {
  const int number = device_number(name);
  if (number >= 0) {
    if (auto device = TRY(control::find_device(number))) return *std::move(device);
  }
  return fail(ExitCode::Param, "Unable to find ploop device by " + name);
}

Result<DeviceState> mounted_device(const std::string& directory) {
  const auto mount = fs::mount_at(directory);
  if (mount) {
    for (DeviceState& device : TRY(control::list_devices())) {
      for (const fs::MountPoint& m : TRY(mounts_of(device))) {
        if (m.device == mount->device) return std::move(device);
      }
    }
  }
  return fail(ExitCode::Param, "Unable to find ploop device by " + directory);
}

Result<MountedDisk> must_be_mounted(const DeviceState& device) {
  if (auto disk = TRY(mounted_disk(device))) return *std::move(disk);
  return fail(ExitCode::Param, "Unable to find mount point for " + device_name(device));
}

/// The running device of a disk, with the default component.
Result<std::optional<DeviceState>> device_by_descriptor(const std::string& name) {
  const std::string path = TRY(descriptor::resolve(name));
  const descriptor::Disk disk = TRY(descriptor::load(path));
  return with_component(TRY(devices_of(disk, path)), "");
}

Status work_on_device(const DeviceState& device, const std::string& partition,
                      const std::function<Status(const MountedDisk&)>& work) {
  fs::DetachedMount mount = TRY(fs::DetachedMount::create(partition));
  const MountedDisk disk = TRY(mounted_disk(device, mount.directory()));
  TRY(work(disk));
  return mount.close();
}

Status work_on_stopped(const std::string& name, const std::function<Status(const MountedDisk&)>& work) {
  const OpenedDisk disk = TRY(open_disk(name));
  control::AttachSpec spec;
  spec.deltas = TRY(chain_deltas(disk.disk, disk.disk.top_uuid));
  spec.deltas.back().read_only = false;
  spec.raw_cluster_sectors = disk.disk.cluster_sectors;
  spec.descriptor = disk.path;
  const CleanupSection section;
  TRY(repair_chain(spec.deltas, true));
  const Attached attached = TRY(attach(spec));
  Status done = work_on_device(attached.state, attached.file_system(), work);
  Status detached = detach(attached.state);
  return done ? detached : done;
}

}  // namespace

Result<MountedDisk> find_mounted(const BalloonTarget& target) {
  if (!target.descriptor.empty()) {
    const auto device = TRY(device_by_descriptor(target.descriptor));
    if (!device) return fail(ExitCode::Param, "The image is not mounted");
    return must_be_mounted(*device);
  }
  if (!target.device.empty()) {
    const DeviceState device = TRY(named_device(target.device));
    if (target.directory.empty()) return must_be_mounted(device);
    // What is free on one disk is not free on another.
    const auto at = mounted_device(target.directory);
    if (!at || at->number != device.number) {
      return fail(ExitCode::Param,
                  "The file system at " + target.directory + " is not that of " + device_name(device));
    }
    return mounted_disk(device, target.directory);
  }
  return must_be_mounted(TRY(mounted_device(target.directory)));
}

Status with_mounted(const BalloonTarget& target, bool automount,
                    const std::function<Status(const MountedDisk&)>& work) {
  if (target.descriptor.empty() || !automount) {
    const auto disk = find_mounted(target);
    if (disk) return work(*disk);
    if (target.descriptor.empty() || disk.error().code != ExitCode::Param) return fail(disk.error());
    return fail(ExitCode::Param, "Unable to discard: image is not mounted");
  }
  const auto device = TRY(device_by_descriptor(target.descriptor));
  if (!device) return work_on_stopped(target.descriptor, work);
  if (const auto mounted = TRY(mounted_disk(*device))) return work(*mounted);
  const MountedDisk unmounted = TRY(mounted_disk(*device, ""));
  return work_on_device(*device, unmounted.partition, work);
}

}  // namespace ploop::ops
