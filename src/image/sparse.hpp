// Holes of a file, as the file system tells them. A simulated file has none to
// report.
#pragma once

#include <cstddef>
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

bool all_zero(std::span<const std::byte> bytes);

/// True when `buffer.size()` bytes from `offset` are all zeros, as far as they are in the file. With
/// `holes_only` the data is not looked at: false when the file system does not know a hole there. The
/// buffer's content is lost. ExitCode::Read.
Result<bool> reads_as_zeros(io::BlockFile& file, std::uint64_t offset, std::span<std::byte> buffer,
                            bool holes_only);

/// Writes zeros into every hole of the file and syncs. `filled` hears of each hole: byte position and length.
/// Progress is the position in the file.
Status fill_holes(io::BlockFile& file, const std::function<void(std::uint64_t, std::uint64_t)>& filled,
                  const ProgressCallback& progress = {});

}  // namespace ploop::image
