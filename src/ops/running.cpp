#include "ops/running.hpp"

#include <algorithm>
#include <cerrno>

#include "base/paths.hpp"
#include "control/registry.hpp"
#include "ops/attach.hpp"

namespace ploop::ops {
namespace {

template <typename Predicate>
Result<std::vector<DeviceState>> select(Predicate wanted) {
  std::vector<DeviceState> devices = TRY(control::list_devices());
  std::erase_if(devices, [&](const DeviceState& d) { return !wanted(d); });
  return devices;
}

}  // namespace

std::string best_path(const std::string& path) {
  if (auto real = canonical_path(path, ExitCode::Open)) return *real;
  if (auto real = canonical_new_path(path, ExitCode::Open)) return *real;
  return path;
}

bool has_base(const DeviceState& device, const std::string& base) {
  return !device.deltas.empty() && device.deltas.front().path == base;
}

std::string device_name(const DeviceState& state) {
  return device_path(state.number);
}

std::string device_names(const std::vector<DeviceState>& devices) {
  std::string names;
  for (const DeviceState& d : devices)
    names += (names.empty() ? "" : " ") + device_name(d);
  return names;
}

Result<DeviceState> device_by_name(const std::string& name) {
  const int number = device_number(name);
  if (number >= 0) {
    if (auto device = TRY(control::find_device(number))) return *std::move(device);
  }
  return fail(errno_error(ExitCode::Device, number < 0 ? ENODEV : ENOENT, "Can't open dev " + name));
}

Result<DeviceState> device_by_directory(const std::string& directory) {
  if (const auto mount = fs::mount_at(directory)) {
    for (DeviceState& device : TRY(control::list_devices())) {
      const auto mounts = mounts_of(device);
      const bool ours = mounts && std::ranges::any_of(*mounts, [&](const fs::MountPoint& m) {
                          return m.device == mount->device;
                        });
      if (ours) return std::move(device);
    }
  }
  return fail(ExitCode::Param, "Unable to find ploop device by " + directory);
}

Result<std::vector<DeviceState>> devices_with_base(const std::string& base) {
  const std::string path = best_path(base);
  return select([&](const DeviceState& d) { return has_base(d, path); });
}

Result<std::vector<DeviceState>> devices_using(const std::string& image) {
  const std::string path = best_path(image);
  return select([&](const DeviceState& d) {
    return std::ranges::any_of(d.deltas, [&](const control::DeltaSpec& delta) { return delta.path == path; });
  });
}

Result<std::vector<DeviceState>> devices_of(const descriptor::Disk& disk,
                                            const std::string& descriptor_path) {
  const std::string base = best_path(base_path(disk));
  return select([&](const DeviceState& d) {
    return has_base(d, base) || (!d.descriptor.empty() && d.descriptor == descriptor_path);
  });
}

Result<std::vector<DeviceState>> if_visible(Result<std::vector<DeviceState>> devices) {
  if (!devices && devices.error().sys_errno == EACCES) return std::vector<DeviceState>{};
  return devices;
}

std::optional<DeviceState> with_component(const std::vector<DeviceState>& devices,
                                          std::string_view component) {
  const auto found =
      std::ranges::find_if(devices, [&](const DeviceState& d) { return d.component == component; });
  if (found == devices.end()) return std::nullopt;
  return *found;
}

std::string base_path(const descriptor::Disk& disk) {
  for (const descriptor::Shot& shot : disk.shots) {
    if (!same_uuid(shot.parent, kNoUuid)) continue;
    if (const descriptor::Image* image = disk.find_image(shot.uuid)) return image->file;
  }
  return disk.first_image().file;
}

}  // namespace ploop::ops
