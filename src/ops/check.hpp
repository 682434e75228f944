// `check`: is an image, or the chain of a disk, sound; and repairing it.
#pragma once

#include <optional>
#include <string>

#include "base/result.hpp"
#include "image/check.hpp"

namespace ploop::ops {

struct CheckRequest {
  std::string target;                ///< descriptor or image
  std::optional<std::string> uuid;   ///< descriptor only: the node whose chain is checked; nothing means the top
  image::CheckOptions flags;         ///< image form; of a descriptor only read_only counts
};

/// Logs what it finds. The exit status of a check that took place: Ok, InUse (37), Format (11), Write (7). An image that a
/// device uses is refused with ExitCode::InUse, whatever the flags: the table of a live image is stale by design.
Result<ExitCode> check(const CheckRequest& request);

}  // namespace ploop::ops
