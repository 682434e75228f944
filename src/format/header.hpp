// The first 64 bytes of an image: meaning, limits, validation. See docs/format.md, section 2.
//
// The rule everything else rests on: a table slot may become durable only after the data cluster it points to
// is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::format {

inline constexpr std::size_t kHeaderSize = 64;
inline constexpr std::uint32_t kTableEntrySize = 4;
/// Slots are element `n + 16` of the file seen as an array of 32-bit words.
inline constexpr std::uint32_t kTableFirstWord = kHeaderSize / kTableEntrySize;
/// The table is written in units of this many bytes.
inline constexpr std::uint32_t kTablePageSize = 4096;
inline constexpr std::uint32_t kSlotsPerPage = kTablePageSize / kTableEntrySize;

inline constexpr std::uint32_t kMinClusterSectors = 64;
inline constexpr std::uint32_t kMaxClusterSectors = 131072;
inline constexpr std::uint32_t kDefaultClusterSectors = 2048;

inline constexpr std::uint32_t kInUseMark = 0x746F6E59;            ///< a writer has, or had, the image open
inline constexpr std::uint32_t kClosedMark = 0;                    ///< closed, no valid extension
inline constexpr std::uint32_t kClosedWithExtension = 0x312E3276;  ///< closed, the extension may be trusted
inline constexpr std::uint32_t kFlagEmpty = 1;                     ///< advisory: no data cluster yet
inline constexpr std::uint32_t kFlagConverting = 2;                ///< a version conversion was interrupted

/// Never stored in a table.
inline constexpr std::uint32_t kInvalidSlot = 0xFFFFFFFF;

enum class Version : std::uint8_t { V1 = 1, V2 = 2 };

/// Decoded header. Plain values; `decode_header` is the only way bytes become one of these.
struct Header {
  Version version = Version::V2;
  std::uint32_t heads = 0;
  std::uint32_t cylinders = 0;
  std::uint32_t cluster_sectors = kDefaultClusterSectors;  ///< power of two
  std::uint32_t table_entries = 0;                         ///< guest clusters with a slot
  std::uint64_t size_sectors = 0;                          ///< guest size
  std::uint32_t in_use = 0;
  std::uint32_t first_block_sectors = 0;  ///< start of the data area
  std::uint32_t flags = 0;
  std::uint64_t extension_sectors = 0;  ///< 0 = no extension

  [[nodiscard]] std::uint64_t cluster_bytes() const { return std::uint64_t{cluster_sectors} * kSectorSize; }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_sectors * kSectorSize; }
  /// Number of clusters before the data area; the lowest valid ImageCluster.
  [[nodiscard]] std::uint32_t header_clusters() const { return first_block_sectors / cluster_sectors; }
  [[nodiscard]] bool is_in_use() const { return in_use == kInUseMark; }
  bool operator==(const Header&) const = default;
};

bool valid_cluster_sectors(std::uint64_t sectors);

/// Validates signature, type, cluster size, first block offset and that size and slot count agree; unknown
/// flags are refused. Needs at least kHeaderSize bytes. ExitCode::Format with "Wrong signature" and the like;
/// ExitCode::Read when too short.
Result<Header> decode_header(std::span<const std::byte> bytes);

std::array<std::byte, kHeaderSize> encode_header(const Header& header);

/// The header of a new, empty image, byte for byte as the original writes it (geometry and rounding
/// included). `size_sectors` is rounded up to a whole cluster. ExitCode::Param when a limit of the version is
/// exceeded.
Result<Header> make_header(std::uint64_t size_sectors, std::uint32_t cluster_sectors, Version version);

/// Most sectors a disk of this version and cluster size can have.
std::uint64_t max_size_sectors(Version version, std::uint32_t cluster_sectors);

/// A requested size as a disk gets it: up to a whole cluster, or down when the next multiple is beyond the
/// limit. ExitCode::Param for 0, for a wrong cluster size and beyond the limit.
Result<std::uint64_t> round_size_sectors(std::uint64_t size_sectors, std::uint32_t cluster_sectors,
                                         Version version);

/// Sectors per track that go with the heads and cylinders of make_header(); the header does not store them,
/// the descriptor does.
std::uint32_t sectors_per_track(std::uint64_t size_sectors);

/// Clusters a file can have so that each has a slot value (including the header clusters). An allocator must
/// fail, not wrap, when it gets there.
std::uint64_t max_image_clusters(const Header& header);

/// Slot as stored (v1: sectors, v2: clusters) <-> cluster number in the file. 0 stays 0 (not allocated). A v1
/// slot that is not a multiple of the cluster size, or a cluster number that the version cannot express,
/// gives kInvalidSlot.
std::uint32_t cluster_from_slot(const Header& header, std::uint32_t slot);
std::uint32_t slot_from_cluster(const Header& header, std::uint32_t image_cluster);

}  // namespace ploop::format
