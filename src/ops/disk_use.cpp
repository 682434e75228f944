#include "ops/disk_use.hpp"

#include <sys/sysmacros.h>

#include <algorithm>

#include "control/registry.hpp"
#include "descriptor/image_path.hpp"
#include "fs/holders.hpp"
#include "ops/attach.hpp"

namespace ploop::ops {
namespace {

/// Somebody who made a device with `tsnapshot` says himself when he has done with it.
bool is_reserved(const DeviceState& device) {
  return device.component.starts_with('~');
}

/// Unmounts and detaches a device that nobody uses; false when somebody does.
Result<bool> put_away(const DeviceState& device) {
  if (is_reserved(device)) return false;
  const std::vector<fs::MountPoint> mounts = TRY(mounts_of(device));
  for (const fs::MountPoint& mount : mounts) {
    if (!fs::file_system_holders(mount.device).empty()) return false;
  }
  for (const fs::MountPoint& mount : mounts) {
    if (!fs::unmount_filesystem(mount, {.retries = 0})) return false;
  }
  return detach(device, std::chrono::milliseconds(0)).has_value();
}

}  // namespace

Result<DiskUse> disk_use(const descriptor::Disk& disk, const std::string& path) {
  DiskUse use;
  const DiskNames names(disk, path);
  for (DeviceState& device : TRY(if_visible(control::list_devices()))) {
    if (names.is_written_by(device)) {
      use.running = std::move(device);
    } else if (names.has(device) || names.shares_with(device)) {
      use.others.push_back(std::move(device));
    }
  }
  return use;
}

Status confirm_running(const DiskUse& use, const DeviceState& device, const std::string& path) {
  if (use.running && use.running->number == device.number) return {};
  return fail(ExitCode::Descriptor, path + " is not the disk of " + device_name(device) +
                                        " any more, which was moved: name the descriptor where it is now");
}

std::string real_file(const descriptor::Disk& disk, const std::string& file) {
  return descriptor::image_path(disk.directory, file).value_or(file);
}

Status free_node(const DiskUse& use, const descriptor::Disk& disk, const std::string& uuid) {
  const NamedFile file(real_file(disk, disk.find_image(uuid)->file));
  const bool temporary = disk.find_shot(uuid)->temporary;
  std::vector<DeviceState> busy;
  for (const DeviceState& device : use.others) {
    if (!level_of(device, file)) continue;
    const bool shows_it = is_level(device.deltas.back(), file);
    if (temporary && shows_it && TRY(put_away(device))) continue;
    busy.push_back(device);
  }
  if (busy.empty()) return {};
  return fail(ExitCode::Busy,
              "Snapshot " + uuid + " is busy by device(s): " + device_names(busy) + ": unmount it first");
}

}  // namespace ploop::ops
