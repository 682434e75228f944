// `merge -d`: levels of a running device are merged into a lower one while it is used.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"

namespace ploop::ops {

/// Levels counted from the base, which is 0; those above `low` up to `high` go into `low`.
struct LevelRange {
  std::size_t low = 0;
  std::size_t high = 0;
};

struct MergeDeviceRequest {
  std::string device;
  std::optional<LevelRange> levels;  ///< nothing: all into the base
  std::string new_image = {};        ///< takes the place of `low`, which is left alone
  ProgressCallback progress = {};
};

/// The files that were merged are not used any more and stay, but for a device that was attached by its
/// descriptor: there this is `snapshot-merge`, since the descriptor must not name them. ExitCode::Device for
/// an unknown device, Param for a device of one level, Sysfs for a level above the top, Busy while another
/// operation runs. The same command goes on with a merge that was interrupted.
Status merge_device(const MergeDeviceRequest& request);

}  // namespace ploop::ops
