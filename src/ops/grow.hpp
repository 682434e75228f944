// `grow`: a larger guest size for an image file, a disk or a running device. Partition table and file system
// are not touched; `resize` does all of it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "control/device_state.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

struct GrowRequest {
  std::uint64_t size_sectors = 0;
  std::string device;  ///< a running device; else:
  std::string target;  ///< descriptor or image
  bool raw = false;    ///< the image is raw
};

/// An image: its file in place, any size between old and new that a crash could show is one of the two. A
/// disk: its top image and the descriptor. The same size is no error. ExitCode::Param for a smaller size, one
/// that is not a multiple of the cluster, or too large a one; Open for an image that is in use or was not
/// closed; Device for an unknown device. A running disk grows while it is used, and its descriptor in the
/// same moment.
Status grow(const GrowRequest& request);

/// The device and the descriptor change in one step, which the device takes. The same size: what a worker or
/// a command that died left of a growth is completed.
Status grow_running_disk(OpenedDisk& locked, const control::DeviceState& device, std::uint64_t size_sectors);

/// Finishes an interrupted growing of a disk, or undoes it when there is no room (ops/recover.cpp).
Result<Outcome> finish_grow(Interrupted& work);

}  // namespace ploop::ops
