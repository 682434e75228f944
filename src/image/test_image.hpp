// Images in memory for tests: any table, any length, any damage. Data follows a pattern that names its guest
// cluster, so that data in the wrong place is seen.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/endian.hpp"
#include "format/header.hpp"
#include "image/delta.hpp"
#include "io/memory_file.hpp"

namespace ploop::image::testing {

/// Guest cluster and where it is in the file.
using Slots = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

/// Words (tag << 24) | (n & 0xfff) << 12 | word number: the pattern of the sample images.
inline std::vector<std::byte> pattern(std::uint32_t tag, std::uint32_t guest, std::uint64_t cluster_bytes) {
  std::vector<std::byte> bytes(cluster_bytes);
  for (std::uint32_t w = 0; w < cluster_bytes / 4; ++w) {
    const le32 word = tag << 24 | (guest & 0xfff) << 12 | (w & 0xfff);
    std::memcpy(bytes.data() + std::size_t{w} * 4, &word, 4);
  }
  return bytes;
}

inline void put32(io::BlockFile& file, std::uint64_t offset, std::uint32_t value) {
  const le32 stored = value;
  file.write(std::as_bytes(std::span(&stored, 1)), offset);
}
inline std::uint32_t get32(io::BlockFile& file, std::uint64_t offset) {
  le32 stored = 0u;
  file.read(std::as_writable_bytes(std::span(&stored, 1)), offset);
  return stored;
}
/// Slot as stored.
inline void put_slot(io::BlockFile& file, std::uint64_t guest, std::uint32_t value) {
  put32(file, 64 + 4 * guest, value);
}
inline std::uint32_t get_slot(io::BlockFile& file, std::uint64_t guest) {
  return get32(file, 64 + 4 * guest);
}

inline void put_header(io::BlockFile& file, const format::Header& header) {
  file.write(format::encode_header(header), 0);
}

struct ImageShape {
  std::uint64_t clusters = 510;
  std::uint32_t cluster_sectors = 64;
  format::Version version = format::Version::V2;
  std::uint32_t tag = 0x41;
};

/// An image with these slots, pattern data behind each, and the length that fits.
inline std::unique_ptr<io::MemoryFile> make_image(const ImageShape& shape, const Slots& slots,
                                                  const std::string& name = "image") {
  format::Header header =
      *format::make_header(shape.clusters * shape.cluster_sectors, shape.cluster_sectors, shape.version);
  auto file = std::make_unique<io::MemoryFile>(name);
  if (!slots.empty()) header.flags = 0;
  put_header(*file, header);
  std::uint64_t end = header.header_clusters();
  for (const auto& [guest, cluster] : slots) {
    put_slot(*file, guest, format::slot_from_cluster(header, cluster));
    file->write(pattern(shape.tag, guest, header.cluster_bytes()), cluster * header.cluster_bytes());
    end = std::max<std::uint64_t>(end, cluster + 1u);
  }
  file->truncate(end * header.cluster_bytes());
  return file;
}

inline std::unique_ptr<io::MemoryFile> copy_of(const io::MemoryFile& file) {
  return std::make_unique<io::MemoryFile>(file);
}

/// Whole content.
inline std::vector<std::byte> bytes_of(io::BlockFile& file) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size()));
  file.read(bytes, 0);
  return bytes;
}

inline Result<Delta> open_copy(const io::MemoryFile& file, const OpenOptions& options = {}) {
  return Delta::open(copy_of(file), Kind::Ploop1, options);
}

}  // namespace ploop::image::testing
