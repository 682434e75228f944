#include "base/checked.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace ploop {
namespace {

TEST(Checked, ReportsOverflowInsteadOfWrapping) {
  EXPECT_EQ(checked_add<std::uint64_t>(2, 3), 5u);
  EXPECT_FALSE(checked_add<std::uint64_t>(UINT64_MAX, 1));
  EXPECT_FALSE(checked_mul<std::uint64_t>(1ull << 33, 1ull << 33));
  EXPECT_FALSE((checked_cast<std::uint32_t>(std::uint64_t{1} << 32)));
  EXPECT_EQ((checked_cast<std::uint32_t>(std::uint64_t{7})), 7u);
}

}  // namespace
}  // namespace ploop
