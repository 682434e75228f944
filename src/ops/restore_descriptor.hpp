// `restore-descriptor`: a new descriptor for a single image that has lost its own, or that came from
// elsewhere. The image itself is not touched.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace ploop::ops {

struct RestoreOptions {
  std::string directory;  ///< where the descriptor goes
  std::string image;
  bool raw = false;
  std::optional<std::uint32_t>
      cluster_sectors;  ///< raw only; nothing takes the largest that divides the file
};

/// ExitCode::Param when there is a descriptor or a raw image does not fit, Open when the image can't be
/// understood.
Status restore_descriptor(const RestoreOptions& options);

}  // namespace ploop::ops
