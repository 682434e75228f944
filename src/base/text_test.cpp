#include "base/text.hpp"

#include <gtest/gtest.h>

namespace ploop {
namespace {

TEST(SizeText, TakesCNumbersAndOneSuffixLetter) {
  EXPECT_EQ(parse_size_in_sectors("100"), 100u);
  EXPECT_EQ(parse_size_in_sectors("0x10"), 16u);
  EXPECT_EQ(parse_size_in_sectors("010000"), 4096u);
  EXPECT_EQ(parse_size_in_sectors(" +7"), 7u);
  EXPECT_EQ(parse_size_in_sectors("1K"), 2u);
  EXPECT_EQ(parse_size_in_sectors("10g"), 20971520u);
  EXPECT_EQ(parse_size_in_sectors("1T"), 2147483648u);
  EXPECT_EQ(parse_size_in_sectors("0M"), 0u);
}

TEST(SizeText, RefusesEverythingElse) {
  for (const char* bad : {"", "k", "GB", "1GB", "1.5g", "1b", "1s", "-1", "12 ", "0x", "99999999999999999999",
                          "9999999999999T"}) {
    EXPECT_FALSE(parse_size_in_sectors(bad)) << bad;
  }
}

TEST(Trim, DropsBlanksAtBothEnds) {
  EXPECT_EQ(trim(" \n a b\t"), "a b");
  EXPECT_EQ(trim(" "), "");
}

}  // namespace
}  // namespace ploop
