// The two durable steps around a writer's time with an image: the mark before the first change and the clean
// close after the last one. docs/format.md, section 6.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "format/header.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

/// Writes the 64 header bytes and nothing else; the table slots behind them stay as they are. Not durable by
/// itself. ExitCode::Write.
Status write_header(io::BlockFile& file, const format::Header& header);

/// Sets the in-use mark, and is durable when it returns. Forgets the format extension in the same step, since
/// what it describes goes stale with the first write. `header` is updated after success.
Status mark_in_use(io::BlockFile& file, format::Header& header);

/// The same for a header that has just been read from the file and may have the mark. Then nothing is
/// written, because where writing needs free blocks (btrfs) a full host has none. Whether the mark is durable
/// nobody knows, so the file is synced.
Status mark_in_use_again(io::BlockFile& file, format::Header& header);

/// Clean close: sync, cut the file behind `used_clusters`, sync, write the header (not in use, no extension,
/// the empty flag cleared when there is data), sync. `used_clusters` is the highest ImageCluster in use plus
/// one; less than the header clusters means "no data". All table pages must have been written before.
/// `header` is updated after success.
Status close_image(io::BlockFile& file, format::Header& header, std::uint64_t used_clusters);

}  // namespace ploop::image
