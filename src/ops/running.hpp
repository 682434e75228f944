// Which devices run over a disk or an image. A disk is known by the path of its base image, never by inode or
// UUID: clones share both (hard links, copied descriptors).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/device_state.hpp"
#include "descriptor/model.hpp"

namespace ploop::ops {

using control::DeviceState;

/// The form in which devices know a file: canonical where it exists, else as close to it as possible.
std::string best_path(const std::string& path);
/// The base image of the device is `base`, as best_path() gives it.
bool has_base(const DeviceState& device, const std::string& base);

/// /dev/ploopN of a device.
std::string device_name(const DeviceState& state);
/// "/dev/ploop0 /dev/ploop3".
std::string device_names(const std::vector<DeviceState>& devices);

/// The live device that a name means: /dev/ploopN, its partition, /dev/mapper/ploopN. ExitCode::Device when
/// there is none.
Result<DeviceState> device_by_name(const std::string& name);
/// The one whose file system is mounted at this directory. ExitCode::Param, "Unable to find ploop device by
/// X".
Result<DeviceState> device_by_directory(const std::string& directory);

/// Live devices whose base image is `base` (an existing or deleted file), any component.
Result<std::vector<DeviceState>> devices_with_base(const std::string& base);
/// Live devices that have the image at any level.
Result<std::vector<DeviceState>> devices_using(const std::string& image);
/// Live devices of the disk: by its base image or by its descriptor.
Result<std::vector<DeviceState>> devices_of(const descriptor::Disk& disk, const std::string& descriptor_path);

/// For offline work: who may not see the devices goes on without, since the locks on the images tell the
/// same.
Result<std::vector<DeviceState>> if_visible(Result<std::vector<DeviceState>> devices);

/// The one with this component, if any.
std::optional<DeviceState> with_component(const std::vector<DeviceState>& devices,
                                          std::string_view component);

/// Path of the image without a parent; literal when the file is gone or may not be used.
std::string base_path(const descriptor::Disk& disk);

}  // namespace ploop::ops
