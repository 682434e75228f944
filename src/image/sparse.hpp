// Holes of a file, as the file system tells them. Only for files with a descriptor; a simulated one has none
// to report.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

/// How many of these clusters (ascending) have a part without written data: a hole, or space that was only
/// reserved.
Result<std::uint64_t> count_sparse_clusters(io::BlockFile& file, std::span<const std::uint32_t> clusters,
                                            std::uint64_t cluster_bytes);

/// Writes zeros into every hole of the file and syncs. `filled` hears of each hole: byte position and length. Progress is
/// the position in the file.
Status fill_holes(io::BlockFile& file, const std::function<void(std::uint64_t, std::uint64_t)>& filled,
                  const ProgressCallback& progress = {});

}  // namespace ploop::image
