// Reading the cluster table of a file, as it is stored. Shared by Delta::open() and the checker.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "format/header.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

/// Most guest clusters an image may have. A larger table is refused before memory is taken for it: 2 GiB of
/// table would be 512 TiB of disk with the default cluster.
inline constexpr std::uint32_t kMaxTableEntries = 1u << 29;

/// Reads and decodes the first 64 bytes. Text as "Wrong signature in image X". ExitCode::Format, Read for a
/// short file.
Result<format::Header> read_header(io::BlockFile& file);

/// Words of the header area that are table: the clusters which a header made for this size would have, minus
/// the header. A first block offset further out leaves a gap that is not looked at.
std::uint64_t stored_slots(const format::Header& header);

/// The file must contain its whole table. It may end in the zeros between the table and the first block,
/// which a repair can add again, but not when the first block is further out than the table explains.
/// ExitCode::Read for a cut table, else Format.
Status check_header_area(io::BlockFile& file, const format::Header& header, std::uint64_t file_bytes);

/// The slots as stored, stored_slots() many, those behind the last guest cluster included. What lies beyond
/// `file_bytes` counts as zero; the caller has checked that the real table does not. ExitCode::Format for
/// more than kMaxTableEntries.
Result<std::vector<std::uint32_t>> read_slots(io::BlockFile& file, const format::Header& header,
                                              std::uint64_t file_bytes,
                                              const ProgressCallback& progress = {});

/// The first number that occurs a second time, or 0. Zeros don't count. Memory is proportional to the table,
/// however large the numbers are.
std::uint32_t find_duplicate(std::span<const std::uint32_t> clusters);

}  // namespace ploop::image
