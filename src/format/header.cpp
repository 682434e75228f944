// Header: bytes to value and back, geometry, limits, slot arithmetic.
#include "format/header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/checked.hpp"
#include "base/endian.hpp"

namespace ploop::format {
namespace {

/// First 64 bytes of an image. See docs/format.md, section 2.
struct RawHeader {
  std::array<char, 16> signature;
  le32 type;
  le32 heads;
  le32 cylinders;
  le32 cluster_sectors;
  le32 table_entries;
  le64 size_sectors;  // version 1 uses the low half only
  le32 in_use;
  le32 first_block_sectors;
  le32 flags;
  le64 extension_sectors;
};
static_assert(sizeof(RawHeader) == kHeaderSize && alignof(RawHeader) == 1);
static_assert(std::is_trivially_copyable_v<RawHeader>);
static_assert(offsetof(RawHeader, size_sectors) == 36 && offsetof(RawHeader, in_use) == 44);
static_assert(offsetof(RawHeader, extension_sectors) == 56);

constexpr std::array<char, 16> kSignatureV1 = {'W', 'i', 't', 'h', 'o', 'u', 't', 'F',
                                               'r', 'e', 'e', 'S', 'p', 'a', 'c', 'e'};
constexpr std::array<char, 16> kSignatureV2 = {'W', 'i', 't', 'h', 'o', 'u', 'F', 'r',
                                               'e', 'S', 'p', 'a', 'c', 'E', 'x', 't'};
constexpr std::uint32_t kType = 2;
constexpr std::uint32_t kKnownFlags = kFlagEmpty | kFlagConverting;
constexpr std::uint64_t kU32Max = 0xFFFFFFFF;

std::uint64_t table_bytes(std::uint64_t entries) {
  return kHeaderSize + kTableEntrySize * entries;
}

struct Geometry {
  std::uint32_t heads = 1;
  std::uint32_t sectors = 1;
  std::uint32_t cylinders = 0;
};

std::uint32_t clamp_cylinders(std::uint64_t cylinders) {
  return static_cast<std::uint32_t>(std::min(cylinders, kU32Max));
}

Geometry geometry(std::uint64_t sectors) {
  // Below 8 GiB old PC BIOSes get the shape they expect, which wastes the end of a last incomplete cylinder.
  if (sectors > 1032192 && sectors < 16777216) return {16, 63, clamp_cylinders(sectors / 1008)};
  for (const std::uint32_t per_track : {63u, 32u, 16u, 8u}) {
    if (sectors % per_track != 0) continue;
    const std::uint64_t tracks = sectors / per_track;
    for (const std::uint32_t heads : {16u, 8u, 4u, 2u}) {
      if (tracks % heads == 0) return {heads, per_track, clamp_cylinders(tracks / heads)};
    }
    break;
  }
  return {1, 1, clamp_cylinders(sectors)};
}

/// Checks that need more than one field. Every later slot and size computation relies on them.
Status check_layout(const Header& header) {
  if (header.size_sectors == 0) return fail(ExitCode::Format, "Wrong size 0");
  if (div_up(header.size_sectors, header.cluster_sectors) != header.table_entries) {
    return fail(ExitCode::Format, fmt::format("Wrong table length {} for {} sectors", header.table_entries,
                                              header.size_sectors));
  }
  const std::uint64_t first_block = std::uint64_t{header.first_block_sectors} * kSectorSize;
  if (header.first_block_sectors == 0 || header.first_block_sectors % header.cluster_sectors != 0 ||
      first_block < table_bytes(header.table_entries)) {
    return fail(ExitCode::Format, "Wrong first block offset");
  }
  if ((header.flags & ~kKnownFlags) != 0) {
    return fail(ExitCode::Format, fmt::format("Wrong flags {:#x}", header.flags));
  }
  return {};
}

}  // namespace

bool valid_cluster_sectors(std::uint64_t sectors) {
  return sectors >= kMinClusterSectors && sectors <= kMaxClusterSectors && std::has_single_bit(sectors);
}

Result<Header> decode_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderSize) return fail(ExitCode::Read, "Short header");
  RawHeader raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);

  Header header;
  if (raw.signature == kSignatureV1) {
    header.version = Version::V1;
  } else if (raw.signature == kSignatureV2) {
    header.version = Version::V2;
  } else {
    return fail(ExitCode::Format, "Wrong signature");
  }
  if (raw.type != kType) return fail(ExitCode::Format, "Wrong type");
  header.heads = raw.heads;
  header.cylinders = raw.cylinders;
  header.cluster_sectors = raw.cluster_sectors;
  if (!valid_cluster_sectors(header.cluster_sectors)) {
    return fail(ExitCode::Format, fmt::format("Wrong cluster size {}", header.cluster_sectors));
  }
  header.table_entries = raw.table_entries;
  header.size_sectors = raw.size_sectors;
  if (header.version == Version::V1) header.size_sectors &= kU32Max;
  header.in_use = raw.in_use;
  header.first_block_sectors = raw.first_block_sectors;
  header.flags = raw.flags;
  header.extension_sectors = raw.extension_sectors;
  TRY(check_layout(header));
  return header;
}

std::array<std::byte, kHeaderSize> encode_header(const Header& header) {
  RawHeader raw{};
  raw.signature = header.version == Version::V1 ? kSignatureV1 : kSignatureV2;
  raw.type = kType;
  raw.heads = header.heads;
  raw.cylinders = header.cylinders;
  raw.cluster_sectors = header.cluster_sectors;
  raw.table_entries = header.table_entries;
  raw.size_sectors = header.size_sectors;
  raw.in_use = header.in_use;
  raw.first_block_sectors = header.first_block_sectors;
  raw.flags = header.flags;
  raw.extension_sectors = header.extension_sectors;
  return std::bit_cast<std::array<std::byte, kHeaderSize>>(raw);
}

std::uint64_t max_size_sectors(Version version, std::uint32_t cluster_sectors) {
  if (version == Version::V1) return round_down(kU32Max, cluster_sectors);
  return kU32Max * cluster_sectors;
}

Result<std::uint64_t> round_size_sectors(std::uint64_t size_sectors, std::uint32_t cluster_sectors,
                                         Version version) {
  if (!valid_cluster_sectors(cluster_sectors)) {
    return fail(ExitCode::Param, fmt::format("Wrong cluster size {}", cluster_sectors));
  }
  if (size_sectors == 0) return fail(ExitCode::Param, "Image size cannot be 0");
  const std::uint64_t limit = max_size_sectors(version, cluster_sectors);
  // A size in the last incomplete cluster below the limit is rounded down, since the next multiple does not
  // exist.
  const std::uint64_t accepted = version == Version::V1 ? kU32Max : limit + cluster_sectors - 1;
  if (size_sectors > accepted) {
    return fail(ExitCode::Param, fmt::format("Image size {} exceeds the limit of {} sectors of version {}",
                                             size_sectors, limit, static_cast<int>(version)));
  }
  if (size_sectors > limit) return limit;
  return round_up(size_sectors, cluster_sectors);
}

Result<Header> make_header(std::uint64_t size_sectors, std::uint32_t cluster_sectors, Version version) {
  const std::uint64_t size = TRY(round_size_sectors(size_sectors, cluster_sectors, version));
  Header header;
  header.version = version;
  header.cluster_sectors = cluster_sectors;
  header.size_sectors = size;
  header.table_entries = static_cast<std::uint32_t>(size / cluster_sectors);
  const std::uint64_t header_bytes =
      round_up(round_up(table_bytes(header.table_entries), kSectorSize), header.cluster_bytes());
  header.first_block_sectors = static_cast<std::uint32_t>(header_bytes / kSectorSize);
  const Geometry shape = geometry(size);
  header.heads = shape.heads;
  header.cylinders = shape.cylinders;
  header.in_use = kClosedMark;
  header.flags = kFlagEmpty;
  return header;
}

std::uint32_t sectors_per_track(std::uint64_t size_sectors) {
  return geometry(size_sectors).sectors;
}

std::uint64_t max_image_clusters(const Header& header) {
  // The highest number, plus one: v1 stores sectors and must start below 2^32, v2 must not store the reserved
  // value.
  return header.version == Version::V1 ? kU32Max / header.cluster_sectors + 1 : kU32Max;
}

std::uint32_t cluster_from_slot(const Header& header, std::uint32_t slot) {
  if (header.version == Version::V2) return slot;
  if ((slot & (header.cluster_sectors - 1)) != 0) return kInvalidSlot;
  return slot >> std::countr_zero(header.cluster_sectors);
}

std::uint32_t slot_from_cluster(const Header& header, std::uint32_t image_cluster) {
  if (image_cluster >= max_image_clusters(header)) return kInvalidSlot;
  return header.version == Version::V1 ? image_cluster * header.cluster_sectors : image_cluster;
}

}  // namespace ploop::format
