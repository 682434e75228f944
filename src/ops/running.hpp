// Which devices run over a disk or an image. An image is known by which file it is, never by its name: a
// device keeps its files when they are renamed, reached by another way, or when others get their names. Nor
// is a disk known by its UUIDs, which clones share.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_id.hpp"
#include "base/result.hpp"
#include "control/device_state.hpp"
#include "descriptor/model.hpp"

namespace ploop::ops {

using control::DeviceState;

/// The form in which devices name a file: canonical where it exists, else as close to it as possible.
std::string best_path(const std::string& path);

/// An image as somebody names it, and which file that is; nothing for one that is not there.
struct NamedFile {
  explicit NamedFile(const std::string& name) : path(best_path(name)), id(file_id(path)) {}
  std::string path;
  std::optional<FileId> id;
};
/// The level is this file. One that is not there can only be known by its name.
bool is_level(const control::DeltaSpec& level, const NamedFile& file);
/// Level of an image in a device, counted from the base.
std::optional<std::size_t> level_of(const DeviceState& device, const NamedFile& file);
std::optional<std::size_t> level_of(const DeviceState& device, const std::string& file);

/// What tells a disk from others.
class DiskNames {
 public:
  /// `descriptor_path` is canonical.
  DiskNames(const descriptor::Disk& disk, std::string descriptor_path);
  /// The device was made of this disk, whatever became of their names. Not one that only has lower levels in
  /// common with it, as clones of a disk do.
  [[nodiscard]] bool has(const DeviceState& device) const;
  /// The device has an image of the disk at any level.
  [[nodiscard]] bool shares_with(const DeviceState& device) const;
  /// It writes to the top of the disk.
  [[nodiscard]] bool is_written_by(const DeviceState& device) const;

 private:
  [[nodiscard]] bool names(const control::DeltaSpec& level) const;
  [[nodiscard]] bool is_place_of(const DeviceState& device) const;

  std::string descriptor_;
  std::optional<FileId> place_;  ///< its directory
  std::vector<NamedFile> images_;
  NamedFile base_;
  NamedFile top_;
};

/// A level that a command adds to the device. It says which file it means, if the daemon understands that.
control::DeltaSpec new_level(const DeviceState& device, const std::string& path, control::ImageKind kind,
                             bool read_only);
/// Commands that find images by the names that the device knows. ExitCode::Open when one of these is another
/// file by now.
Status confirm_names(const DeviceState& device);

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

/// Live devices whose base image is `base` (an existing or deleted file), any component. Of clones those that
/// were made by this name.
Result<std::vector<DeviceState>> devices_with_base(const std::string& base);
/// Live devices that have the image at any level.
Result<std::vector<DeviceState>> devices_using(const std::string& image);
/// Live devices of the disk, as DiskNames has them.
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
