// The two ways of `resize`; see resize.hpp. Internal to it.
#pragma once

#include <cstdint>

#include "ops/give_back.hpp"
#include "ops/recover.hpp"
#include "ops/resize.hpp"

namespace ploop::ops {

/// GPT and mounted file system follow the size of the device.
Status fill_device(const MountedDisk& disk);

/// A running disk. `size_sectors` is rounded.
Status resize_running(OpenedDisk& disk, const DeviceState& device, std::uint64_t size_sectors,
                      const ProgressCallback& progress);

/// A disk that is not attached, to at most the size that its device would have.
Status resize_stopped(OpenedDisk& disk, std::uint64_t size_sectors, const ProgressCallback& progress);

/// "Unable to change image size to N sectors, minimal size is M".
tl::unexpected<Error> too_small(std::uint64_t size_sectors, std::uint64_t minimum);

}  // namespace ploop::ops
