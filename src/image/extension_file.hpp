// The format extension of an image file: found, verified, summed up. Reading only; a writer forgets it
// (lifecycle.hpp).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "format/extension.hpp"
#include "format/header.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

/// The extension, or nothing when the header has none or does not vouch for it. ExitCode::Format when it does
/// but the extension is damaged or outside of the file.
Result<std::optional<format::Extension>> read_extension(io::BlockFile& file, const format::Header& header,
                                                        std::uint64_t file_bytes);

/// Clusters of the file that belong to a valid extension: its own and those of the bitmap. Sorted.
std::vector<std::uint64_t> extension_clusters(const format::Header& header,
                                              const format::Extension& extension);

struct DirtyRange {
  std::uint64_t first = 0;  ///< in units of the bitmap's granularity
  std::uint64_t count = 0;
  bool operator==(const DirtyRange&) const = default;
};

struct DirtySummary {
  std::uint64_t dirty_bits = 0;
  std::vector<DirtyRange> ranges;  ///< in ascending order, the first `limit` of them
};

/// Which blocks a bitmap says were written. ExitCode::Read when the file fails.
Result<DirtySummary> summarize_bitmap(io::BlockFile& file, const format::Header& header,
                                      const format::DirtyBitmap& bitmap, std::size_t limit);

}  // namespace ploop::image
