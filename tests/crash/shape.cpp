// Building stamped stacks.
#include "shape.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <random>

#include "base/endian.hpp"

namespace ploop::crash {

std::string Shape::text() const {
  return fmt::format("v{} cluster {} x {} levels {}{}{} top {}% lower {}%",
                     version == format::Version::V1 ? 1 : 2, cluster_sectors, clusters, levels,
                     raw_base ? " raw base" : "", can_clone ? " reflink" : "", top_percent, lower_percent);
}

Shape random_shape(std::uint64_t seed) {
  std::mt19937_64 rng(seed * 2 + 1);
  static constexpr std::array<std::uint32_t, 6> kClusters = {4, 6, 8, 16, 32, 64};
  static constexpr std::array<std::uint32_t, 6> kLevels = {1, 1, 2, 2, 3, 8};
  Shape shape;
  shape.version = rng() % 3 == 0 ? format::Version::V1 : format::Version::V2;
  shape.cluster_sectors = rng() % 4 == 0 ? 128 : 64;
  shape.clusters = kClusters[rng() % kClusters.size()];
  if (shape.cluster_sectors == 128 && shape.clusters > 16) shape.clusters = 16;
  shape.levels = kLevels[rng() % kLevels.size()];
  shape.raw_base = rng() % (shape.levels > 1 ? 3 : 8) == 0;
  if (shape.raw_top()) shape.cut_sectors = static_cast<std::uint32_t>(rng() % shape.cluster_sectors);
  shape.can_clone = rng() % 2 == 0;
  shape.top_percent = static_cast<std::uint32_t>(rng() % 3 * 30);
  shape.lower_percent = 20 + static_cast<std::uint32_t>(rng() % 3 * 30);
  if (rng() % 16 == 0) {  // a table of two pages
    shape.cluster_sectors = 64;
    shape.clusters = format::kSlotsPerPage + 20;
    shape.levels = std::min(shape.levels, 2U);
    shape.raw_base = false;
    shape.cut_sectors = 0;
    shape.top_percent = std::min(shape.top_percent, 1U);
    shape.lower_percent = 3;
  }
  return shape;
}

namespace {

/// What an earlier crash left in a cluster that no slot names: stamped for a sector that does not exist.
void write_garbage(Content& content, std::uint64_t offset, std::uint64_t length, Generation generation) {
  std::array<std::byte, 512> sector{};
  stamp(sector.data(), 0xFFFFFF, generation);
  for (std::uint64_t at = offset; at < offset + length; at += 512)
    content.write(sector, at);
}

/// Writes one delta; returns the generation per sector where it has data, and notes which clusters it has.
Result<Content> make_delta(const Shape& shape, std::uint32_t percent, std::mt19937_64& rng,
                           Generation generation, bool with_holes, std::vector<Generation>& view) {
  format::Header header = TRY(format::make_header(shape.sectors(), shape.cluster_sectors, shape.version));
  Content content;
  const std::uint64_t cluster_bytes = header.cluster_bytes();
  std::uint32_t next = header.header_clusters();
  std::array<std::byte, 512> sector{};
  for (std::uint32_t guest = 0; guest < shape.clusters; ++guest) {
    if (rng() % 100 >= percent) continue;
    if (with_holes && rng() % 4 == 0)
      write_garbage(content, next++ * cluster_bytes, cluster_bytes, generation);
    const le32 slot = format::slot_from_cluster(header, next);
    content.write(std::as_bytes(std::span(&slot, 1)), (std::uint64_t{guest} + format::kTableFirstWord) * 4);
    for (std::uint32_t s = 0; s < shape.cluster_sectors; ++s) {
      const std::uint64_t number = std::uint64_t{guest} * shape.cluster_sectors + s;
      view[number] = rng() % 16 == 0 ? kZeros : generation;
      stamp(sector.data(), number, view[number]);
      content.write(sector, next * cluster_bytes + std::uint64_t{s} * 512);
    }
    ++next;
  }
  if (with_holes) {
    for (std::uint64_t tail = rng() % 3; tail > 0; --tail)
      write_garbage(content, next++ * cluster_bytes, cluster_bytes, generation);
  }
  if (next > header.header_clusters()) header.flags &= ~format::kFlagEmpty;
  content.write(format::encode_header(header), 0);
  content.set_size(next * cluster_bytes);
  return content;
}

Content make_raw(const Shape& shape, std::mt19937_64& rng, Generation generation,
                 std::vector<Generation>& view) {
  Content content;
  // A raw base may end anywhere, and not at a cluster boundary.
  const std::uint64_t sectors = shape.raw_top() ? shape.sectors() : 1 + rng() % shape.sectors();
  std::array<std::byte, 512> bytes{};
  for (std::uint64_t s = 0; s < sectors; ++s) {
    view[s] = rng() % 8 == 0 ? kZeros : generation;
    stamp(bytes.data(), s, view[s]);
    content.write(bytes, s * 512);
  }
  content.set_size(sectors * 512);
  return content;
}

}  // namespace

Result<Disk> make_disk(const Shape& shape, std::uint64_t seed) {
  std::mt19937_64 rng(seed ^ 0xD15C);
  Disk disk;
  disk.shape = shape;
  disk.below.assign(shape.sectors(), kZeros);
  for (std::uint32_t level = 0; level + 1 < shape.levels; ++level) {
    const Generation generation = disk.next_generation++;
    if (level == 0 && shape.raw_base) {
      disk.lower.push_back(make_raw(shape, rng, generation, disk.below));
    } else {
      disk.lower.push_back(TRY(make_delta(shape, shape.lower_percent, rng, generation, false, disk.below)));
    }
  }
  disk.initial = disk.below;
  if (shape.raw_top()) {
    disk.top = make_raw(shape, rng, disk.next_generation++, disk.initial);
    return disk;
  }
  disk.top = TRY(
      make_delta(shape, shape.top_percent, rng, disk.next_generation++, shape.top_percent > 0, disk.initial));
  const format::Header header =
      TRY(format::make_header(shape.sectors(), shape.cluster_sectors, shape.version));
  disk.data_start = std::uint64_t{header.first_block_sectors} * kSectorSize;
  return disk;
}

Result<image::Delta> open_top(const Disk& disk, std::unique_ptr<io::BlockFile> top_file, bool allow_in_use,
                              bool writable) {
  image::OpenOptions options;
  options.allow_in_use = allow_in_use;
  options.writable = writable;
  options.raw_cluster_sectors = disk.shape.cluster_sectors;
  return image::Delta::open(std::move(top_file),
                            disk.shape.raw_top() ? image::Kind::Raw : image::Kind::Ploop1, options);
}

Result<std::vector<image::Delta>> open_stack(const Disk& disk, std::unique_ptr<io::BlockFile> top_file,
                                             bool allow_in_use, bool writable) {
  std::vector<image::Delta> deltas;
  image::OpenOptions options;
  options.raw_cluster_sectors = disk.shape.cluster_sectors;
  for (std::size_t level = 0; level < disk.lower.size(); ++level) {
    const bool raw = level == 0 && disk.shape.raw_base;
    auto file = std::make_unique<ContentFile>(disk.lower[level], false, fmt::format("level{}", level));
    deltas.push_back(
        TRY(image::Delta::open(std::move(file), raw ? image::Kind::Raw : image::Kind::Ploop1, options)));
  }
  deltas.push_back(TRY(open_top(disk, std::move(top_file), allow_in_use, writable)));
  return deltas;
}

}  // namespace ploop::crash
