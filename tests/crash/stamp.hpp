// What sectors contain in the simulations: every sector names the write that made it and its own number, in
// every 16 bytes, so that a foreign, stale or torn sector identifies itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace ploop::crash {

/// Number of a write. 0 is "zeros".
using Generation = std::uint32_t;
inline constexpr Generation kZeros = 0;
/// Not a legal sector of any write to this place.
inline constexpr Generation kAlien = 0xFFFFFFFF;
/// Fills space that a file system exposes without having zeroed it.
inline constexpr std::byte kPoison{0xDB};

inline constexpr std::uint64_t kStampMagic = 0x5EC7'0000'0000'0000;

inline void stamp(std::byte* sector_bytes, std::uint64_t sector, Generation generation) {
  if (generation == kZeros) {
    std::memset(sector_bytes, 0, 512);
    return;
  }
  const std::uint64_t words[2] = {kStampMagic | generation, ~sector};
  for (std::size_t i = 0; i < 512; i += sizeof(words))
    std::memcpy(sector_bytes + i, words, sizeof(words));
}

/// The generation of a sector that is whole and in its own place; kAlien otherwise.
inline Generation read_stamp(const std::byte* sector_bytes, std::uint64_t sector) {
  if (std::memcmp(sector_bytes, sector_bytes + 16, 512 - 16) != 0) return kAlien;
  std::uint64_t words[2];
  std::memcpy(words, sector_bytes, sizeof(words));
  if (words[0] == 0 && words[1] == 0) return kZeros;
  if ((words[0] & 0xFFFF'0000'0000'0000) != kStampMagic || words[1] != ~sector) return kAlien;
  return static_cast<Generation>(words[0]);
}

/// For messages: "generation 12 of sector 7", "zeros", "torn", "poison", ...
std::string describe_sector(const std::byte* sector_bytes);

}  // namespace ploop::crash
