// `resize`: disk, partition and file system get another size together.
//
// A mounted disk grows for real, and shrinks by its balloon: device, partition and file system keep their
// size, the balloon takes the difference and the image gives it back. A disk that is not attached gets
// exactly the new size, also a smaller one. What could do damage when it is killed (e2fsck, resize2fs) works
// on a temporary delta above the disk, which is merged into it when everything went well: a killed command
// leaves the old disk, or one that the next command finishes.
#pragma once

#include <cstdint>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

struct ResizeOptions {
  std::string descriptor;
  std::uint64_t size_sectors = 0;  ///< rounded up to a cluster
  ProgressCallback progress = {};
};

/// The size that it has is no error and changes nothing. ExitCode::Param when it can't be (the text says what
/// is the smallest, or what else to do), Busy, Fallocate, ResizeFs, ChangeGpt, Fsck.
Status resize(const ResizeOptions& options);

/// Undoes or finishes an interrupted one (ops/recover.cpp).
Result<Outcome> finish_resize(Interrupted& work);
/// A note from whose phase on the image is being written, so that it can only be finished.
bool resize_has_begun(const Intent& intent);

}  // namespace ploop::ops
