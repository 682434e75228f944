// Little-endian integers for on-disk structures: byte storage, alignment 1, so that a struct of these is the
// exact layout on any host and a field cannot be read without conversion.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ploop {

template <typename T>
class LittleEndian {
 public:
  LittleEndian() = default;
  constexpr LittleEndian(T value) { store(value); }  // NOLINT: implicit on purpose
  constexpr LittleEndian& operator=(T value) {
    store(value);
    return *this;
  }
  constexpr operator T() const {  // NOLINT: implicit on purpose
    T value = std::bit_cast<T>(bytes_);
    return swap(value);
  }

 private:
  static constexpr T swap(T v) {
    if constexpr (std::endian::native == std::endian::little) return v;
    if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(v));
    if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(v));
    if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(v));
  }
  constexpr void store(T value) { bytes_ = std::bit_cast<std::array<unsigned char, sizeof(T)>>(swap(value)); }
  std::array<unsigned char, sizeof(T)> bytes_;
};

using le16 = LittleEndian<std::uint16_t>;
using le32 = LittleEndian<std::uint32_t>;
using le64 = LittleEndian<std::uint64_t>;

static_assert(sizeof(le64) == 8 && alignof(le64) == 1 && std::is_trivially_copyable_v<le64>);

}  // namespace ploop
