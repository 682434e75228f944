// Merging image files: opening, locking, naming the new file, and image::merge() between. Knows no
// descriptor; the commands that do (snapshot-delete, snapshot-merge) call merge_files() under the
// descriptor's lock.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "format/header.hpp"
#include "image/copy.hpp"

namespace ploop::ops {

struct MergeFiles {
  std::vector<std::string> sources;  ///< topmost first
  std::string destination;           ///< the delta below them
  bool raw = false;                  ///< the destination is raw
  /// Not empty: `destination` is only read, too, and everything goes to this new file, which appears complete
  /// or not at all.
  std::string new_image = {};
  /// An interrupted merge is repeated: the destination may carry the in-use mark.
  bool resume = false;
  /// The destination is the base of its stack: clusters of zeros that it does not have need no space.
  bool nothing_below = false;
  ProgressCallback progress = {};
  /// The destination's table had to grow, and its clusters have new places from now on; the old ones are
  /// overwritten when this returns. Others can lock the destination for reading meanwhile.
  std::function<Status()> moved = {};
  /// The new image is complete and gets its name when this returns.
  std::function<Status()> complete = {};
};

/// Logs nothing. Every file is locked meanwhile: shared where it is read, exclusively where it is written.
/// Cancellable (ops/cancel.hpp): ExitCode::System, and the same call with `resume` goes on. Nothing was
/// changed when it fails with Open (marked in use, used by a device, unreadable header), Format (don't fit
/// together), Param (the new file exists); otherwise the sources are as they were and the destination carries
/// the mark.
Result<image::CopyTotals> merge_files(const MergeFiles& request);

/// What the new file is called until it is complete; a killed merge leaves it.
std::string merge_work_file(const std::string& new_image);

/// `merge UPPER... BASE` of the command line.
struct MergeRequest {
  std::vector<std::string> operands;  ///< topmost first, destination last
  bool raw = false;
  std::string new_image = {};
  ProgressCallback progress = {};
};

/// Refuses what is wrong before anything is touched, then merge_files(). Logs what it does.
Status merge(const MergeRequest& request);

}  // namespace ploop::ops
