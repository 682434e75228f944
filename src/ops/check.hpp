// `check`: is an image, or the chain of a disk, sound; and repairing it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "image/check.hpp"

namespace ploop::ops {

struct CheckRequest {
  std::string target;  ///< descriptor or image
  std::optional<std::string>
      uuid;                   ///< descriptor only: the node whose chain is checked; nothing means the top
  image::CheckOptions flags;  ///< image form; of a descriptor only read_only counts
};

/// What a check that took place found.
struct CheckOutcome {
  ExitCode exit = ExitCode::Ok;             ///< Ok, InUse (37), Format (11) or Write (7)
  std::vector<image::CheckReport> reports;  ///< one per image that was looked at, base first
};

/// Logs what it finds. Of a disk the first image that is not sound ends it. An image that a device uses is
/// refused with ExitCode::InUse, whatever the flags: the table of a live image is stale by design.
Result<CheckOutcome> check(const CheckRequest& request);

}  // namespace ploop::ops
