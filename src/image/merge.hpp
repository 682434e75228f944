// Merging deltas into the one below them, or a whole stack into a new image. For each guest cluster the
// topmost copy among the sources goes to the destination; what no source has stays as it is there. Sources
// are only read.
//
// Order, each arrow a barrier: destination marked in use -> (grown to the size of the top source) -> batches
// of data -> table pages -> ... -> mark cleared. At every moment the sources above the destination read
// right, so an interrupted merge is simply run again. The destination by itself is nobody's state until the
// end; the mark says so.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/copy.hpp"
#include "image/delta.hpp"

namespace ploop::image {

/// How much becomes durable at once. Small values are for tests.
struct MergeBatch {
  std::uint64_t copied_bytes = 512 * kMiB;
  std::uint32_t guest_clusters = 65536;  ///< how many are planned at a time
  std::uint64_t run_bytes = kGiB;        ///< longest piece that is shared with one call
};

struct MergeOptions {
  /// There is nothing below the destination: clusters of zeros that it does not have yet are left out.
  bool nothing_below = false;
  /// Asked at points where the destination is consistent; true ends the merge with ExitCode::System.
  std::function<bool()> cancelled = {};
  ProgressCallback progress = {};  ///< bytes of guest clusters
  /// Growing the destination: as in ResizeOptions.
  std::function<Status()> moved = {};
  MergeBatch batch = {};
};

/// May these be merged? `sources` topmost first. Cluster sizes and versions must agree, those of the
/// destination included, and no delta may be larger than one above it. ExitCode::Format ("Wrong blocksize
/// ...", "Wrong version
/// ..."), Param when there are no sources.
Status check_mergeable(std::span<const Delta> sources, const Delta& destination);

/// Merges and closes the destination cleanly. `sources` topmost first; only the last may be raw, and only
/// when the destination is a new image. The destination was opened writable, as ploop1 or raw (then with the
/// sources' cluster size); it must be opened again afterwards. After an interrupted merge it may carry the
/// mark (Delta's allow_in_use). Nothing was changed when check_mergeable() fails; otherwise ExitCode::Read,
/// Write, Fsync, Fallocate, Reloc.
Result<CopyTotals> merge(std::span<const Delta> sources, Delta& destination,
                         const MergeOptions& options = {});

/// Bytes of guest clusters that a merge would move.
std::uint64_t merge_bytes(std::span<const Delta> sources);

}  // namespace ploop::image
