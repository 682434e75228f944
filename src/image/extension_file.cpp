#include "image/extension_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/endian.hpp"

namespace ploop::image {
namespace {

/// Adds runs of set bits, joined with the previous range where they touch.
void add_range(DirtySummary& summary, std::uint64_t first, std::uint64_t count, std::size_t limit) {
  summary.dirty_bits += count;
  if (!summary.ranges.empty()) {
    DirtyRange& last = summary.ranges.back();
    if (last.first + last.count == first) {
      last.count += count;
      return;
    }
  }
  if (summary.ranges.size() < limit) summary.ranges.push_back({first, count});
}

/// Bits of one bitmap cluster; `first` is the number of its first bit.
void add_bits(DirtySummary& summary, std::span<const std::byte> bytes, std::uint64_t first,
              std::uint64_t bits, std::size_t limit) {
  for (std::uint64_t i = 0; i < bits;) {
    const auto value = std::to_integer<std::uint8_t>(bytes[i / 8]);
    if (i % 8 == 0 && value == 0) {
      i += 8;
      continue;
    }
    if ((value >> (i % 8) & 1) != 0) add_range(summary, first + i, 1, limit);
    ++i;
  }
}

}  // namespace

Result<std::optional<format::Extension>> read_extension(io::BlockFile& file, const format::Header& header,
                                                        std::uint64_t file_bytes) {
  if (header.in_use != format::kClosedWithExtension || header.extension_sectors == 0) return std::nullopt;
  const std::uint64_t file_clusters = file_bytes / header.cluster_bytes();
  if (header.extension_sectors % header.cluster_sectors != 0 ||
      header.extension_sectors < header.first_block_sectors ||
      header.extension_sectors / header.cluster_sectors >= file_clusters) {
    return fail(ExitCode::Format, fmt::format("Wrong extension position in image {}", file.name()));
  }
  std::vector<std::byte> cluster(header.cluster_bytes());
  TRY(io::read_exact(file, cluster, header.extension_sectors * kSectorSize, "format extension"));
  auto extension = format::decode_extension(cluster, header);
  if (!extension) {
    extension.error().what += fmt::format(" in image {}", file.name());
    return fail(std::move(extension).error());
  }
  return std::optional(std::move(*extension));
}

std::vector<std::uint64_t> extension_clusters(const format::Header& header,
                                              const format::Extension& extension) {
  std::vector<std::uint64_t> clusters{header.extension_sectors / header.cluster_sectors};
  if (extension.bitmap) {
    for (const std::uint64_t entry : extension.bitmap->l1) {
      if (entry > format::DirtyBitmap::kAllSet) clusters.push_back(entry / header.cluster_sectors);
    }
  }
  std::sort(clusters.begin(), clusters.end());
  return clusters;
}

Result<DirtySummary> summarize_bitmap(io::BlockFile& file, const format::Header& header,
                                      const format::DirtyBitmap& bitmap, std::size_t limit) {
  DirtySummary summary;
  const std::uint64_t bits_per_entry = header.cluster_bytes() * 8;
  std::vector<std::byte> cluster(header.cluster_bytes());
  std::uint64_t first = 0;
  for (const std::uint64_t entry : bitmap.l1) {
    const std::uint64_t bits = std::min(bits_per_entry, bitmap.bits() - first);
    if (entry == format::DirtyBitmap::kAllSet) {
      add_range(summary, first, bits, limit);
    } else if (entry != format::DirtyBitmap::kAllClear) {
      TRY(io::read_exact(file, cluster, entry * kSectorSize, "dirty bitmap"));
      add_bits(summary, cluster, first, bits, limit);
    }
    first += bits;
  }
  return summary;
}

}  // namespace ploop::image
