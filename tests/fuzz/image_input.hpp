// How fuzz bytes become an image in memory. An image is mostly zeros and at least 32 KiB long, so the input
// holds two stretches of it:
//
//   0  u32  file length in sectors (taken modulo a limit)
//   4  u32  where the second stretch begins, in sectors
//   8  u16  length of the first stretch, which begins the file
//   10 u8   options of the target
//   11 ..   first stretch, then second stretch
//
// Option 0x80 makes the checksum of the format extension right, which chance never would.
#pragma once

#include <md5.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/endian.hpp"
#include "format/header.hpp"
#include "io/memory_file.hpp"

namespace ploop::fuzz {

inline constexpr std::size_t kPrefix = 11;
inline constexpr std::uint8_t kSealExtension = 0x80;

struct ImageInput {
  std::unique_ptr<io::MemoryFile> file;
  std::uint8_t options = 0;
};

/// Makes the checksum of an extension cluster right.
inline void seal(std::span<std::byte> cluster) {
  MD5_CTX context;
  MD5Init(&context);
  MD5Update(&context, reinterpret_cast<const std::uint8_t*>(cluster.data()) + 24, cluster.size() - 24);
  MD5Final(reinterpret_cast<std::uint8_t*>(cluster.data()) + 8, &context);
}

inline void seal_extension(io::MemoryFile& file) {
  std::vector<std::byte> head(format::kHeaderSize);
  if (file.read(head, 0) != static_cast<std::int64_t>(head.size())) return;
  const auto header = format::decode_header(head);
  if (!header || header->extension_sectors > 1u << 24) return;
  const std::uint64_t offset = header->extension_sectors * kSectorSize;
  std::vector<std::byte> cluster(header->cluster_bytes());
  if (file.read(cluster, offset) != static_cast<std::int64_t>(cluster.size())) return;
  seal(cluster);
  file.write(std::span(cluster).first(24), offset);
}

/// Nothing when the input is too short. `limit_sectors` bounds the file's length.
inline ImageInput decode_input(std::span<const std::uint8_t> data, std::uint32_t limit_sectors) {
  ImageInput input;
  if (data.size() < kPrefix) return input;
  le32 length;
  le32 second;
  le16 first_bytes;
  std::memcpy(&length, data.data(), 4);
  std::memcpy(&second, data.data() + 4, 4);
  std::memcpy(&first_bytes, data.data() + 8, 2);
  input.options = data[10];
  const auto rest = std::as_bytes(data.subspan(kPrefix));
  const auto first = rest.first(std::min<std::size_t>(first_bytes, rest.size()));
  const auto tail = rest.subspan(first.size());
  input.file = std::make_unique<io::MemoryFile>("image");
  input.file->write(first, 0);
  if (!tail.empty()) input.file->write(tail, std::uint64_t{second % limit_sectors} * kSectorSize);
  // A length of the form sectors + 1 bit says "not a whole sector".
  const std::uint64_t sectors = length % limit_sectors;
  input.file->truncate(sectors * kSectorSize + ((length & 0x80000000) != 0 ? 77 : 0));
  if ((input.options & kSealExtension) != 0) seal_extension(*input.file);
  return input;
}

/// The inverse for seeds: the file's beginning up to its last table byte, and the cluster at
/// `second_sectors`, without the zeros at the end.
inline std::vector<std::uint8_t> encode_input(io::BlockFile& file, std::uint32_t second_sectors,
                                              std::uint8_t options) {
  const auto trimmed = [&file](std::uint64_t offset, std::size_t length) {
    std::vector<std::uint8_t> bytes(length);
    file.read(std::as_writable_bytes(std::span(bytes)), offset);
    while (!bytes.empty() && bytes.back() == 0)
      bytes.pop_back();
    return bytes;
  };
  const std::vector<std::uint8_t> first = trimmed(0, 32768);
  std::vector<std::uint8_t> second;
  if (second_sectors != 0) second = trimmed(std::uint64_t{second_sectors} * kSectorSize, 4096);
  const std::uint64_t bytes = static_cast<std::uint64_t>(file.size());
  const le32 length =
      static_cast<std::uint32_t>(bytes / kSectorSize) | (bytes % kSectorSize != 0 ? 0x80000000u : 0u);
  const le32 where = second_sectors;
  const le16 first_bytes = static_cast<std::uint16_t>(first.size());
  std::vector<std::uint8_t> input(kPrefix);
  std::memcpy(input.data(), &length, 4);
  std::memcpy(input.data() + 4, &where, 4);
  std::memcpy(input.data() + 8, &first_bytes, 2);
  input[10] = options;
  input.insert(input.end(), first.begin(), first.end());
  input.insert(input.end(), second.begin(), second.end());
  return input;
}

}  // namespace ploop::fuzz
