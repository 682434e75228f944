// Finding the running disk that a `balloon` command is about, with its file system.
#pragma once

#include <functional>
#include <string>

#include "base/result.hpp"
#include "ops/balloon.hpp"
#include "ops/give_back.hpp"

namespace ploop::ops {

/// ExitCode::Param, "The image is not mounted" and the like.
Result<MountedDisk> find_mounted(const BalloonTarget& target);

/// The same for the time of `work`, where a disk (given by its descriptor) that is not mounted may be mounted
/// for itself, without a mount point, and attached if necessary. Everything is gone afterwards, also when the
/// command is killed.
Status with_mounted(const BalloonTarget& target, bool automount,
                    const std::function<Status(const MountedDisk&)>& work);

}  // namespace ploop::ops
