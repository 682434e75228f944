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

Result<std::string> directory_of_device(const DeviceState& device) {
  const std::vector<fs::MountPoint> mounts = TRY(mounts_of(device));
  if (mounts.empty()) return fail(ExitCode::Param, "Unable to find mount point for " + device_name(device));
  return mounts.front().directory;
}

/// The running device of a disk, with the default component.
Result<std::optional<DeviceState>> device_by_descriptor(const std::string& name) {
  const std::string path = TRY(descriptor::resolve(name));
  const descriptor::Disk disk = TRY(descriptor::load(path));
  return with_component(TRY(devices_of(disk, path)), "");
}

Status work_on_device(const DeviceState& device, const std::string& partition, const std::function<Status(const MountedDisk&)>& work) {
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
    return mounted_disk(*device, TRY(directory_of_device(*device)));
  }
  if (!target.device.empty()) {
    const DeviceState device = TRY(named_device(target.device));
    return mounted_disk(device, target.directory.empty() ? TRY(directory_of_device(device)) : target.directory);
  }
  return mounted_disk(TRY(mounted_device(target.directory)), target.directory);
}

Status with_mounted(const BalloonTarget& target, bool automount, const std::function<Status(const MountedDisk&)>& work) {
  if (target.descriptor.empty() || !automount) {
    const auto disk = find_mounted(target);
    if (disk) return work(*disk);
    if (target.descriptor.empty() || disk.error().code != ExitCode::Param) return fail(disk.error());
    return fail(ExitCode::Param, "Unable to discard: image is not mounted");
  }
  const auto device = TRY(device_by_descriptor(target.descriptor));
  if (!device) return work_on_stopped(target.descriptor, work);
  if (const auto directory = directory_of_device(*device)) return work(TRY(mounted_disk(*device, *directory)));
  const MountedDisk unmounted = TRY(mounted_disk(*device, ""));
  return work_on_device(*device, unmounted.partition, work);
}

}  // namespace ploop::ops
