// Table in, with the file's length as the only thing that decides how much memory is taken.
#include "image/table_io.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "format/cluster_table.hpp"

namespace ploop::image {
namespace {

constexpr std::uint64_t kReadPiece = kMiB;

std::uint32_t find_duplicate_sorted(std::span<const std::uint32_t> clusters) {
  std::vector<std::uint32_t> used;
  std::copy_if(clusters.begin(), clusters.end(), std::back_inserter(used),
               [](std::uint32_t c) { return c != 0; });
  std::sort(used.begin(), used.end());
  const auto twice = std::adjacent_find(used.begin(), used.end());
  return twice == used.end() ? 0 : *twice;
}

}  // namespace

Result<format::Header> read_header(io::BlockFile& file) {
  std::array<std::byte, format::kHeaderSize> bytes;
  TRY(io::read_exact(file, bytes, 0, "header"));
  auto header = format::decode_header(bytes);
  if (!header) {
    header.error().what += fmt::format(" in image {}", file.name());
    return header;
  }
  if (header->table_entries > kMaxTableEntries) {
    return fail(ExitCode::Format, fmt::format("Too large a table ({} clusters) in image {}",
                                              header->table_entries, file.name()));
  }
  return header;
}

std::uint64_t stored_slots(const format::Header& header) {
  const std::uint64_t bytes =
      format::kHeaderSize + std::uint64_t{header.table_entries} * format::kTableEntrySize;
  return round_up(bytes, header.cluster_bytes()) / format::kTableEntrySize - format::kTableFirstWord;
}

Status check_header_area(io::BlockFile& file, const format::Header& header, std::uint64_t file_bytes) {
  const std::uint64_t table_end =
      format::kHeaderSize + std::uint64_t{header.table_entries} * format::kTableEntrySize;
  if (file_bytes < table_end) {
    return fail(ExitCode::Read, fmt::format("Image {} is shorter than its cluster table", file.name()));
  }
  const std::uint64_t first_block = std::uint64_t{header.first_block_sectors} * kSectorSize;
  if (file_bytes < first_block && first_block > round_up(table_end, header.cluster_bytes())) {
    return fail(ExitCode::Format, fmt::format("Wrong first block offset in image {}", file.name()));
  }
  return {};
}

Result<std::vector<std::uint32_t>> read_slots(io::BlockFile& file, const format::Header& header,
                                              std::uint64_t file_bytes, const ProgressCallback& progress) {
  std::vector<std::uint32_t> slots(stored_slots(header));
  const std::uint64_t end =
      std::min(file_bytes, slots.size() * std::uint64_t{format::kTableEntrySize} + format::kHeaderSize);
  std::vector<std::byte> piece(std::min(kReadPiece, end));
  std::size_t filled = 0;
  for (std::uint64_t offset = 0; offset < end; offset += kReadPiece) {
    const auto part = std::span(piece).first(std::min(kReadPiece, end - offset));
    TRY(io::read_exact(file, part, offset, "cluster table"));
    // A piece is many pages long, which makes no difference: only the very first one begins with a header.
    const std::uint32_t page = offset == 0 ? 0 : 1;
    filled += format::decode_table_page(page, part, std::span(slots).subspan(filled));
    report_progress(progress, offset + part.size(), end);
  }
  return slots;
}

std::uint32_t find_duplicate(std::span<const std::uint32_t> clusters) {
  std::uint32_t highest = 0;
  for (const std::uint32_t cluster : clusters)
    highest = std::max(highest, cluster);
  // One bit per cluster of the file, unless a few slots of a huge sparse file would make that large.
  const std::uint64_t words = std::uint64_t{highest} / 64 + 1;
  if (words > 4096 + clusters.size()) return find_duplicate_sorted(clusters);
  std::vector<std::uint64_t> seen(words);
  for (const std::uint32_t cluster : clusters) {
    if (cluster == 0) continue;
    std::uint64_t& word = seen[cluster / 64];
    const std::uint64_t bit = std::uint64_t{1} << (cluster % 64);
    if ((word & bit) != 0) return cluster;
    word |= bit;
  }
  return 0;
}

}  // namespace ploop::image
