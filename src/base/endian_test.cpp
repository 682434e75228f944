#include "base/endian.hpp"

#include <gtest/gtest.h>

namespace ploop {
namespace {

TEST(Endian, StoresLittleEndianBytesAtAnyAlignment) {
  struct Raw {
    unsigned char pad;
    le32 value;
    le64 wide;
  };
  static_assert(sizeof(Raw) == 13);
  Raw raw{};
  raw.value = 0x11223344u;
  raw.wide = 0x0102030405060708ull;
  unsigned char bytes[13];
  std::memcpy(bytes, &raw, sizeof raw);
  EXPECT_EQ(bytes[1], 0x44);
  EXPECT_EQ(bytes[4], 0x11);
  EXPECT_EQ(bytes[5], 0x08);
  EXPECT_EQ(raw.value, 0x11223344u);
  EXPECT_EQ(raw.wide, 0x0102030405060708ull);
}

}  // namespace
}  // namespace ploop
