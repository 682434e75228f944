// `tsnapshot`: a snapshot for one reader, a backup for example. It is attached read-only beside the running
// disk under the component "~NAME", and goes by itself after that device has been unmounted.
#pragma once

#include <string>

#include "base/result.hpp"
#include "ops/mount.hpp"

namespace ploop::ops {

struct TsnapshotOptions {
  std::string descriptor;
  std::string uuid;
  std::string component;  ///< without the "~"
  std::string directory;  ///< mount point; "" only attaches
};

/// Errors of snapshot() and mount(); when mounting fails the snapshot is merged back.
Result<MountResult> tsnapshot(const TsnapshotOptions& options);

}  // namespace ploop::ops
