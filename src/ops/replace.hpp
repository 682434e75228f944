// `replace`: another file with the same content takes the place of an image, of a stopped disk or under a
// running device. The content is compared first.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"

namespace ploop::ops {

/// Which image: exactly one of uuid, level and current.
struct ReplaceRequest {
  std::string descriptor;  ///< exactly one of descriptor, device and directory
  std::string device;
  std::string directory;               ///< where the device's file system is mounted
  std::optional<std::string> uuid;     ///< node of the disk's tree
  std::optional<std::size_t> level;    ///< of the running device, 0 is the base
  std::optional<std::string> current;  ///< file of the image
  std::string new_file;
  bool keep_name = false;  ///< the new file gets the old one's name, and the old one goes
  bool compare = true;     ///< false: only size and header, as the original did
  ProgressCallback progress = {};
};

/// ExitCode::Param for a wrong choice (no such image, the running top, NEWFILE missing or in use by the
/// disk), Format when the files differ or the new one is damaged, InUse when it was not closed, Rename for
/// keep_name between file systems. Nothing was changed then.
Status replace(const ReplaceRequest& request);

}  // namespace ploop::ops
