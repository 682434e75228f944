// Small disks for the simulations: a stack of deltas with stamped content, and what every sector of it must
// read as.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "content.hpp"
#include "format/header.hpp"
#include "image/delta.hpp"
#include "stamp.hpp"

namespace ploop::crash {

struct Shape {
  format::Version version = format::Version::V2;
  std::uint32_t cluster_sectors = 64;
  std::uint32_t clusters = 8;        ///< guest clusters
  std::uint32_t levels = 1;          ///< the top included
  bool raw_base = false;             ///< with one level the raw image is the top
  std::uint32_t cut_sectors = 0;     ///< missing in the last cluster; only with a raw top
  bool can_clone = false;            ///< the files support reflinks
  std::uint32_t top_percent = 0;     ///< guest clusters the top has at the start
  std::uint32_t lower_percent = 40;  ///< guest clusters each lower delta has
  [[nodiscard]] bool raw_top() const { return raw_base && levels == 1; }
  [[nodiscard]] std::uint64_t sectors() const {
    return std::uint64_t{clusters} * cluster_sectors - cut_sectors;
  }
  [[nodiscard]] std::uint64_t cluster_bytes() const { return std::uint64_t{cluster_sectors} * 512; }
  [[nodiscard]] std::string text() const;
};

/// The files of a disk and their meaning. Generations up to levels are taken by the content.
struct Disk {
  Shape shape;
  std::vector<Content> lower;  ///< base first, without the top
  Content top;
  std::vector<Generation> initial;  ///< per sector, through the whole stack
  std::vector<Generation> below;    ///< per sector, without the top
  std::uint64_t data_start = 0;     ///< of the top, bytes
  Generation next_generation = 1;   ///< first one that the content does not use
};

/// A shape chosen by the seed: versions, cluster sizes, 1..8 levels, raw bases, reflinks, filled and empty
/// tops.
Shape random_shape(std::uint64_t seed);

/// Fails only on a bug of the builder.
Result<Disk> make_disk(const Shape& shape, std::uint64_t seed);

/// Opens the lower deltas of the disk and `top_file` on top of them, base first.
Result<std::vector<image::Delta>> open_stack(const Disk& disk, std::unique_ptr<io::BlockFile> top_file,
                                             bool allow_in_use, bool writable);
Result<image::Delta> open_top(const Disk& disk, std::unique_ptr<io::BlockFile> top_file, bool allow_in_use,
                              bool writable);

}  // namespace ploop::crash
