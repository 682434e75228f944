#include "ops/info.hpp"

#include "base/paths.hpp"
#include "control/registry.hpp"
#include "descriptor/store.hpp"
#include "fs/detached_mount.hpp"
#include "fs/partition.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/prepare.hpp"
#include "ops/running.hpp"
#include "ops/space_watch.hpp"
#include "ops/stale.hpp"

namespace ploop::ops {
namespace {

Result<std::optional<DeviceState>> running(const descriptor::Locked& locked) {
  return with_component(TRY(devices_of(locked.disk, locked.path)), "");
}

Result<fs::Usage> usage_of_attached(const Attached& attached) {
  const std::string type = TRY(fs::detect_filesystem(attached.file_system()));
  fs::DetachedMount mount =
      TRY(fs::DetachedMount::create(attached.file_system(), type, fs::untouched_options(type), true));
  fs::Usage usage = TRY(fs::read_usage(mount.directory()));
  TRY(mount.close());
  return usage;
}

Result<fs::Usage> usage_of_stopped(const descriptor::Locked& locked) {
  const descriptor::Disk& disk = locked.disk;
  control::AttachSpec spec;
  spec.read_only = true;
  spec.descriptor = locked.path;
  spec.raw_cluster_sectors = disk.cluster_sectors;
  spec.deltas = TRY(chain_deltas(disk, disk.top_uuid));
  const CleanupSection section;
  const Attached attached = TRY(attach(spec));
  auto usage = usage_of_attached(attached);
  Status detached = detach(attached.state);
  if (usage && !detached) return fail(std::move(detached).error());
  if (usage) ignore(fs::store_usage_cache(disk.directory, *usage), "the cache only saves time");
  return usage;
}

}  // namespace

Result<fs::Usage> disk_usage(const std::string& descriptor) {
  const std::string path = TRY(descriptor::resolve(descriptor));
  if (const auto cached = fs::load_usage_cache(directory_of(path)); cached && *cached) return **cached;
  const descriptor::Locked locked = TRY(descriptor::lock_and_load(path));
  const auto device = TRY(running(locked));
  if (!device) return usage_of_stopped(locked);
  const auto root = TRY(mounted_root(*device));
  if (!root) return fail(ExitCode::Create, "The file system on " + device_name(*device) + " is not mounted");
  return fs::read_usage(root->directory());
}

Result<DiskGeometry> disk_geometry(const std::string& descriptor) {
  const descriptor::Locked locked = TRY(descriptor::lock_and_load(descriptor));
  const descriptor::Disk& disk = locked.disk;
  if (const auto device = with_component(TRY(if_visible(devices_of(disk, locked.path))), "")) {
    return DiskGeometry{device->size_sectors, device->cluster_sectors, device->version};
  }
  const std::vector<control::DeltaSpec> deltas = TRY(chain_deltas(disk, disk.top_uuid));
  if (deltas.back().kind == control::ImageKind::Raw)
    return DiskGeometry{disk.size_sectors, disk.cluster_sectors, 0};
  const format::Header header = TRY(read_header(deltas.back().path));
  return DiskGeometry{header.size_sectors, header.cluster_sectors, static_cast<int>(header.version)};
}

Result<DiskDevice> disk_device(const std::string& descriptor) {
  const descriptor::Locked locked = TRY(descriptor::lock_and_load(descriptor));
  const auto device = TRY(running(locked));
  if (!device) return DiskDevice{};
  const std::string name = device_name(*device);
  const auto partition = fs::kernel_partition(name);
  return DiskDevice{name, partition && *partition ? partition_path(device->number, 1) : name,
                    device->can_resend};
}

Result<std::vector<DeviceRow>> list_devices(bool with_mount_points) {
  clean_up_dead_devices();
  auto devices = control::list_devices();
  if (!devices) return fail(Error{ExitCode::Create, devices.error().sys_errno, devices.error().what});
  std::vector<DeviceRow> rows;
  for (DeviceState& device : *devices) {
    if (device.deltas.empty()) continue;
    DeviceRow row{std::move(device), {}};
    row.waits_for_space = waits_for_space(row.state);
    if (with_mount_points) {
      if (const auto mounts = mounts_of(row.state)) {
        for (const fs::MountPoint& mount : *mounts)
          row.mount_points.push_back(mount.directory);
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace ploop::ops
