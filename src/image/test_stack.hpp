// Random stacks in memory for tests of merge, grow and conversion: every sector says what it is, clusters of
// zeros, holes, any order in the file.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "image/stack.hpp"
#include "image/test_image.hpp"

namespace ploop::image::testing {

struct StackShape {
  std::uint32_t cluster_sectors = 64;
  format::Version version = format::Version::V2;
  bool raw_base = false;
  std::vector<std::uint64_t> clusters;  ///< guest clusters of each level, base first
  bool can_clone = false;
};

/// Files of a stack, base first.
using Files = std::vector<std::unique_ptr<io::MemoryFile>>;

inline Slots random_slots(std::uint64_t clusters, std::uint32_t header_clusters, std::mt19937_64& random) {
  std::vector<std::uint32_t> places;
  for (std::uint32_t i = 0; i < clusters + clusters / 4 + 2; ++i)
    places.push_back(header_clusters + i);
  // Runs here, scattered there.
  if (random() % 2 == 0) std::shuffle(places.begin(), places.end(), random);
  Slots slots;
  std::size_t next = 0;
  const auto percent = random() % 90 + 5;
  for (std::uint32_t guest = 0; guest < clusters; ++guest) {
    if (random() % 100 < percent) slots.emplace_back(guest, places[next++]);
    if (random() % 10 == 0 && next + 1 < places.size() - clusters) ++next;
  }
  return slots;
}

inline std::unique_ptr<io::MemoryFile> random_raw(std::uint64_t clusters, std::uint64_t cluster_bytes,
                                                  std::mt19937_64& random) {
  auto file = std::make_unique<io::MemoryFile>("raw");
  for (std::uint32_t guest = 0; guest < clusters; ++guest) {
    if (random() % 3 != 0) file->write(pattern(0x52, guest, cluster_bytes), guest * cluster_bytes);
  }
  // An odd length now and then.
  file->truncate(clusters * cluster_bytes - (random() % 2) * kSectorSize);
  return file;
}

inline Files make_files(const StackShape& shape, std::mt19937_64& random) {
  Files files;
  for (std::size_t level = 0; level < shape.clusters.size(); ++level) {
    const std::uint64_t clusters = shape.clusters[level];
    if (level == 0 && shape.raw_base) {
      files.push_back(random_raw(clusters, std::uint64_t{shape.cluster_sectors} * kSectorSize, random));
    } else {
      const format::Header header =
          *format::make_header(clusters * shape.cluster_sectors, shape.cluster_sectors, shape.version);
      const Slots slots = random_slots(clusters, header.header_clusters(), random);
      auto file = make_image({.clusters = clusters,
                              .cluster_sectors = shape.cluster_sectors,
                              .version = shape.version,
                              .tag = static_cast<std::uint32_t>(0x60 + level)},
                             slots, "level" + std::to_string(level));
      // Some of the clusters hold zeros.
      for (const auto& [guest, cluster] : slots) {
        if (random() % 8 == 0)
          file->write(std::vector<std::byte>(header.cluster_bytes()), cluster * header.cluster_bytes());
      }
      files.push_back(std::move(file));
    }
    files.back()->set_options({.can_clone = shape.can_clone});
  }
  return files;
}

inline Result<Delta> open_level(std::unique_ptr<io::BlockFile> file, const StackShape& shape,
                                std::size_t level, bool writable = false, bool allow_in_use = false) {
  return Delta::open(
      std::move(file), level == 0 && shape.raw_base ? Kind::Raw : Kind::Ploop1,
      {.allow_in_use = allow_in_use, .writable = writable, .raw_cluster_sectors = shape.cluster_sectors});
}

/// All bytes of the guest that sees these files; throws when they can't be read.
inline std::vector<std::byte> guest_view(const Files& files, const StackShape& shape,
                                         bool allow_in_use = false) {
  std::vector<Delta> deltas;
  for (std::size_t level = 0; level < files.size(); ++level) {
    auto delta = open_level(copy_of(*files[level]), shape, level, false, allow_in_use);
    if (!delta) throw std::runtime_error(delta.error().message());
    deltas.push_back(std::move(*delta));
  }
  auto stack = Stack::make(std::move(deltas));
  if (!stack) throw std::runtime_error(stack.error().message());
  std::vector<std::byte> bytes(stack->size_bytes());
  if (!stack->read(0, bytes)) throw std::runtime_error("read");
  return bytes;
}

}  // namespace ploop::image::testing
