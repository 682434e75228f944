#include "ops/running.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/paths.hpp"
#include "control/registry.hpp"
#include "descriptor/tree_edit.hpp"
#include "ops/attach.hpp"

namespace ploop::ops {

using control::DeltaSpec;

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

bool is_level(const control::DeltaSpec& level, const NamedFile& file) {
  if (!file.id) return level.path == file.path;
  return (level.file ? level.file : file_id(level.path)) == file.id;
}

std::optional<std::size_t> level_of(const DeviceState& device, const NamedFile& file) {
  const auto found =
      std::ranges::find_if(device.deltas, [&](const DeltaSpec& d) { return is_level(d, file); });
  if (found == device.deltas.end()) return std::nullopt;
  return static_cast<std::size_t>(found - device.deltas.begin());
}

std::optional<std::size_t> level_of(const DeviceState& device, const std::string& file) {
  return level_of(device, NamedFile(file));
}

DiskNames::DiskNames(const descriptor::Disk& disk, std::string descriptor_path)
    : descriptor_(std::move(descriptor_path)),
      place_(file_id(directory_of(descriptor_))),
      base_(base_path(disk)),
      top_(descriptor::top_image(disk).file) {
  for (const descriptor::Image& image : disk.images)
    images_.emplace_back(image.file);
}

bool DiskNames::names(const DeltaSpec& level) const {
  return std::ranges::any_of(images_, [&](const NamedFile& file) { return is_level(level, file); });
}

bool DiskNames::shares_with(const DeviceState& device) const {
  return std::ranges::any_of(device.deltas, [this](const DeltaSpec& level) { return names(level); });
}

bool DiskNames::is_place_of(const DeviceState& device) const {
  if (device.deltas.front().path == base_.path || device.descriptor == descriptor_) return true;
  return place_ && device.place == place_ && base_name(device.descriptor) == base_name(descriptor_);
}

bool DiskNames::has(const DeviceState& device) const {
  if (device.deltas.empty()) return false;
  // Nobody else has what it writes to.
  if (!device.read_only && names(device.deltas.back())) return true;
  return is_place_of(device) && shares_with(device);
}

bool DiskNames::is_written_by(const DeviceState& device) const {
  return !device.read_only && !device.deltas.empty() && is_level(device.deltas.back(), top_);
}

DeltaSpec new_level(const DeviceState& device, const std::string& path, control::ImageKind kind,
                    bool read_only) {
  DeltaSpec level{path, kind, read_only};
  if (!device.deltas.empty() && device.deltas.front().file) level.file = file_id(path);
  return level;
}

Status confirm_names(const DeviceState& device) {
  for (const DeltaSpec& level : device.deltas) {
    if (!level.file || file_id(level.path) == level.file) continue;
    return fail(ExitCode::Open, level.path + " is not the file any more that " + device_name(device) +
                                    " has: it was moved or replaced");
  }
  return {};
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
  const NamedFile file(base);
  std::vector<DeviceState> devices = TRY(
      select([&](const DeviceState& d) { return !d.deltas.empty() && is_level(d.deltas.front(), file); }));
  const auto named = [&](const DeviceState& d) { return d.deltas.front().path == file.path; };
  if (std::ranges::any_of(devices, named))
    std::erase_if(devices, [&](const DeviceState& d) { return !named(d); });
  return devices;
}

Result<std::vector<DeviceState>> devices_using(const std::string& image) {
  const NamedFile file(image);
  return select([&](const DeviceState& d) { return level_of(d, file).has_value(); });
}

Result<std::vector<DeviceState>> devices_of(const descriptor::Disk& disk,
                                            const std::string& descriptor_path) {
  const DiskNames names(disk, descriptor_path);
  return select([&](const DeviceState& d) { return names.has(d); });
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
