// Sizes and strong types for quantities that get mixed up.
#pragma once

#include <compare>
#include <cstdint>

namespace ploop {

inline constexpr std::uint32_t kSectorSize = 512;
inline constexpr std::uint32_t kSectorShift = 9;
inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;
inline constexpr std::uint64_t kTiB = 1024 * kGiB;

template <typename Tag, typename T>
struct Quantity {
  T value{};
  constexpr Quantity() = default;
  constexpr explicit Quantity(T v) : value(v) {}
  friend constexpr auto operator<=>(Quantity, Quantity) = default;
};

using Bytes = Quantity<struct BytesTag, std::uint64_t>;
using Sectors = Quantity<struct SectorsTag, std::uint64_t>;

constexpr Bytes to_bytes(Sectors s) {
  return Bytes{s.value << kSectorShift};
}
constexpr Sectors to_sectors(Bytes b) {
  return Sectors{b.value >> kSectorShift};
}

/// Number of a cluster of the device the guest sees.
using GuestCluster = Quantity<struct GuestClusterTag, std::uint64_t>;
/// Number of a cluster of an image file, counted from the start of the file. 0 is the first header cluster,
/// so a data cluster never has it.
using ImageCluster = Quantity<struct ImageClusterTag, std::uint64_t>;
/// Position of a delta in its stack; 0 is the base.
using DeltaLevel = Quantity<struct DeltaLevelTag, std::uint16_t>;

constexpr std::uint64_t round_up(std::uint64_t v, std::uint64_t unit) {
  return (v + unit - 1) / unit * unit;
}
constexpr std::uint64_t round_down(std::uint64_t v, std::uint64_t unit) {
  return v / unit * unit;
}
constexpr std::uint64_t div_up(std::uint64_t v, std::uint64_t unit) {
  return v / unit + (v % unit != 0 ? 1 : 0);
}

}  // namespace ploop
