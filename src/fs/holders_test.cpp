#include "fs/holders.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/test_support.hpp"

namespace ploop::fs {
namespace {

TEST(FileSystemHolders, FindThisProcessByItsOpenFile) {
  const ScratchDirectory scratch;
  std::ofstream open_file(scratch.path("open"));
  struct stat st {};
  ASSERT_EQ(::stat(scratch.path("open").c_str(), &st), 0);
  const auto holders = file_system_holders(st.st_dev);
  EXPECT_THAT(holders, testing::Contains(testing::Field(&Holder::pid, ::getpid())));
}

TEST(FileSystemHolders, AreNoneForADeviceThatDoesNotExist) {
  EXPECT_TRUE(file_system_holders(0xfffff).empty());
}

TEST(DescribeHolders, OneLineWithALimit) {
  EXPECT_EQ(describe_holders({}), "");
  const std::vector<Holder> three = {
      {1, "a", "open /x"}, {2, "b", "mounted at /y"}, {0, "dm-0", "built on the device"}};
  EXPECT_EQ(describe_holders(three), "a(1): open /x; b(2): mounted at /y; dm-0: built on the device");
  EXPECT_EQ(describe_holders(three, 1), "a(1): open /x; and 2 more");
}

}  // namespace
}  // namespace ploop::fs
