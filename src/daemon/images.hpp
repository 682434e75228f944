// The images of a device, opened and locked in the order of the attach order.
#pragma once

#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "engine/device.hpp"
#include "image/delta.hpp"

namespace ploop::daemon {

/// Base first. Every image is locked before anything of it is read: exclusively what will be written, shared what is
/// below. ExitCode::Mount for an image that is locked by somebody else; the errors of io and image otherwise. The top of a
/// writable device may be marked in use (its writer died; the lock says that it is gone), lower ones may not.
Result<std::vector<image::Delta>> open_images(const control::AttachSpec& spec);

/// The same for images whose user was just killed: waits until the last operation it had in flight has ended, at most a minute.
/// These keep its open files, and so its locks, alive.
Result<std::vector<image::Delta>> open_images_when_quiet(const control::AttachSpec& spec);

/// One of them.
Result<image::Delta> open_image(const control::DeltaSpec& delta, std::uint32_t raw_cluster_sectors);

}  // namespace ploop::daemon
