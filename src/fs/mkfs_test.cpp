#include "fs/mkfs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ploop::fs {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;
using testing::StartsWith;

TEST(MkfsCommand, Ext4HasTheHistoricalOptions) {
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{kGiB}, {}),
              ElementsAre("mke2fs", "-t", "ext4", "-j", "-b4096", "-Elazy_itable_init=1,resize=4294967295",
                          "-Jsize=128", "-i16384", "/dev/x"));
}

TEST(MkfsCommand, NotLazyMeansTablesAreZeroedAtOnce) {
  MkfsOptions options;
  options.lazy = false;
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{kGiB}, options),
              Contains("-Elazy_itable_init=0,resize=4294967295"));
}

TEST(MkfsCommand, GrowLimitFollowsTheBlockSize) {
  MkfsOptions options;
  options.block_size = 65536;
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{kGiB}, options),
              Contains("-Elazy_itable_init=1,resize=268435456"));
  options.block_size = 1024;
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{kGiB}, options),
              Contains("-Elazy_itable_init=1,resize=4294967295"));
}

TEST(MkfsCommand, NoGrowLimitForADiskThatReachesIt) {
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{16 * kTiB}, {}), Contains("-Elazy_itable_init=1"));
}

TEST(MkfsCommand, SmallDiskLetsMke2fsChooseTheJournal) {
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{256 * kMiB}, {}), Not(Contains(StartsWith("-J"))));
}

TEST(MkfsCommand, XfsAndNone) {
  MkfsOptions options;
  options.type = FsType::Xfs;
  options.label = "data";
  EXPECT_THAT(mkfs_command("/dev/x", Bytes{kGiB}, options),
              ElementsAre("mkfs.xfs", "-b", "size=4096", "-L", "data", "/dev/x"));
  options.type = FsType::None;
  EXPECT_TRUE(mkfs_command("/dev/x", Bytes{kGiB}, options).empty());
}

TEST(FsTypeName, ParsesWhatItPrintsAndNothingElse) {
  for (const FsType type : {FsType::None, FsType::Ext3, FsType::Ext4, FsType::Xfs})
    EXPECT_EQ(parse_fs_type(fs_type_name(type)), type);
  for (const char* name : {"", "ext2", "EXT4", "ext4 ", "btrfs"})
    EXPECT_FALSE(parse_fs_type(name)) << name;
}

TEST(MakeFilesystem, SomethingThatIsNoDeviceIsRefused) {
  EXPECT_EQ(make_filesystem("/etc/passwd", {}).error().code, ExitCode::Device);
  EXPECT_EQ(make_filesystem("/nonexistent", {}).error().code, ExitCode::Device);
}

}  // namespace
}  // namespace ploop::fs
