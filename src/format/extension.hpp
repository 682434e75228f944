// The format extension: one cluster behind the data that lists features, of which one is known, the dirty
// bitmap. We read and verify it and never write to a live image; docs/format.md, section 7. It may be trusted
// only when the header carries kClosedWithExtension.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "format/header.hpp"

namespace ploop::format {

inline constexpr std::uint64_t kExtensionMagic = 0xAB234CEF23DCEA87;
inline constexpr std::uint64_t kDirtyBitmapMagic = 0x20385FAE252CB34A;
inline constexpr std::uint64_t kFeatureNecessary = 1;  ///< not understood: the file must not be changed
inline constexpr std::uint64_t kFeatureTransit = 2;    ///< not understood: must be kept

/// Which guest blocks were written since the bitmap was started.
struct DirtyBitmap {
  static constexpr std::uint64_t kAllClear = 0;
  static constexpr std::uint64_t kAllSet = 1;
  std::uint64_t size_sectors = 0;         ///< equals the header's
  std::array<std::uint8_t, 16> id{};      ///< UUID in textual byte order
  std::uint32_t granularity_sectors = 0;  ///< guest sectors per bit, power of two
  /// One entry per bitmap cluster: kAllClear, kAllSet or the sector where the cluster begins. May be empty:
  /// nothing dirty.
  std::vector<std::uint64_t> l1;

  [[nodiscard]] std::uint64_t bits() const { return div_up(size_sectors, granularity_sectors); }
  bool operator==(const DirtyBitmap&) const = default;
};

struct Extension {
  std::optional<DirtyBitmap> bitmap;
  bool unknown_necessary =
      false;  ///< has a feature we don't know and without which the file must not be changed
  bool unknown_transit = false;  ///< has a feature we don't know and must keep
  std::uint32_t features = 0;    ///< how many, known or not
};

/// `cluster` is the whole extension cluster. Verifies magic, checksum, the feature list, that nothing follows
/// it, and the bitmap: size, granularity, number of L1 entries, each aligned, behind the header and below the
/// extension. ExitCode::Format.
Result<Extension> decode_extension(std::span<const std::byte> cluster, const Header& header);

/// An extension cluster with one dirty bitmap, checksum included. ExitCode::Param when it does not fit.
Result<std::vector<std::byte>> encode_extension(const DirtyBitmap& bitmap, std::uint64_t cluster_bytes);

}  // namespace ploop::format
