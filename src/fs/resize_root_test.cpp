// The inner file system changes its size, and the balloon takes and gives, on a real loop device.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "fs/balloon.hpp"
#include "fs/balloon_file.hpp"
#include "fs/block_device.hpp"
#include "fs/detached_mount.hpp"
#include "fs/resize.hpp"
#include "fs/test_device.hpp"
#include "fs/usage.hpp"

namespace ploop::fs {
namespace {

class ResizeTest : public DeviceTest, public testing::WithParamInterface<FsType> {
 protected:
  /// A larger disk under the same file system.
  void enlarge(std::uint64_t bytes) {
    std::filesystem::resize_file(scratch_.path("disk"), bytes);
    ASSERT_TRUE(run_checked({"losetup", "-c", loop_->path()}, ExitCode::Device));
  }
};

TEST_P(ResizeTest, GrowsWhileMounted) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  auto mount = DetachedMount::create(partition_);
  ASSERT_TRUE(mount) << mount.error().message();
  const std::uint64_t before = read_usage(mount->directory())->blocks;
  enlarge(kGiB);
  const auto range = resize_gpt(loop_->path(), Sectors{kGiB / 512}, 2048);
  ASSERT_TRUE(range) << range.error().message();
  const Status told = resize_kernel_partition(loop_->path(), *range);
  ASSERT_TRUE(told) << told.error().message();
  EXPECT_EQ(inspect_block_device(partition_)->size.value, kGiB - 2 * kMiB);
  const Status grown = grow_mounted(mount->directory(), partition_);
  if (!grown && grown.error().sys_errno == EPERM) {
    // The kernel wants CAP_SYS_RESOURCE for it, which a container's root may lack.
    EXPECT_THAT(grown.error().message(), testing::HasSubstr("CAP_SYS_RESOURCE"));
    EXPECT_FALSE(may_grow_mounted(*read_facts(partition_)));
    ASSERT_TRUE(mount->close());
    ASSERT_TRUE(check_ext_filesystem(partition_, true));
    ASSERT_TRUE(resize_unmounted_ext(partition_, inspect_block_device(partition_)->size));
  } else {
    ASSERT_TRUE(grown) << grown.error().message();
    EXPECT_TRUE(may_grow_mounted(*read_facts(partition_)));
    EXPECT_TRUE(grow_mounted(mount->directory(), partition_)) << "nothing to do";
    EXPECT_GT(read_usage(mount->directory())->blocks, before + 100'000);
    ASSERT_TRUE(mount->close());
  }
  const auto facts = read_facts(partition_);
  ASSERT_TRUE(facts);
  EXPECT_GT(facts->size().value, kGiB - 8 * kMiB);
  if (facts->is_ext()) {
    EXPECT_TRUE(check_ext_filesystem(partition_, true));
    EXPECT_GT(facts->inodes, 0U);
    const auto smallest = minimum_ext_size(partition_);
    ASSERT_TRUE(smallest) << smallest.error().message();
    EXPECT_LT(smallest->value, 512 * kMiB);
    const Status shrunk = resize_unmounted_ext(partition_, Bytes{600 * kMiB});
    ASSERT_TRUE(shrunk) << shrunk.error().message();
    EXPECT_EQ(read_facts(partition_)->size().value, 600 * kMiB);
    EXPECT_TRUE(check_ext_filesystem(partition_, true));
    EXPECT_TRUE(set_reserved_blocks(partition_, Bytes{400 * kMiB}));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ResizeTest, testing::Values(FsType::Ext4, FsType::Ext3, FsType::Xfs),
                         [](const auto& c) { return std::string(fs_type_name(c.param)); });

class BalloonTest : public DeviceTest, public testing::WithParamInterface<FsType> {};

TEST_P(BalloonTest, TakesBlocksThatNobodyWrote) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  auto mount = DetachedMount::create(partition_);
  ASSERT_TRUE(mount) << mount.error().message();
  const std::uint64_t partition_bytes = inspect_block_device(partition_)->size.value;
  auto balloon = BalloonFile::open(mount->directory());
  ASSERT_TRUE(balloon) << balloon.error().message();
  EXPECT_EQ(BalloonFile::open(mount->directory()).error().code, ExitCode::Busy);
  EXPECT_EQ(balloon->size()->value, 0U);
  EXPECT_EQ(balloon->rounded(Bytes{1})->value, 4096U);
  const std::uint64_t free_before = read_usage(mount->directory())->free_blocks;
  const Status inflated = balloon->resize(Bytes{100 * kMiB});
  ASSERT_TRUE(inflated) << inflated.error().message();
  EXPECT_LE(read_usage(mount->directory())->free_blocks, free_before - 100 * 256);
  const auto extents = balloon->unwritten();
  ASSERT_TRUE(extents) << extents.error().message();
  std::uint64_t sum = 0;
  for (const DeviceExtent& e : *extents) {
    sum += e.length;
    EXPECT_LE(e.offset + e.length, partition_bytes);
  }
  EXPECT_EQ(sum, 100 * kMiB);
  const auto half = balloon->unwritten(Bytes{50 * kMiB});
  std::uint64_t half_sum = 0;
  for (const DeviceExtent& e : *half)
    half_sum += e.length;
  EXPECT_EQ(half_sum, 50 * kMiB);

  const Status too_much = balloon->resize(Bytes{kGiB});
  ASSERT_FALSE(too_much);
  EXPECT_EQ(too_much.error().code, ExitCode::Fallocate);
  EXPECT_EQ(balloon->size()->value, 100 * kMiB) << "as it was";

  // What somebody wrote there is not worthless any more.
  {
    const Fd file(::openat(mount->fd(), std::string(kBalloonName).c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(write_all(file.get(), std::string(4096, 'x'), "balloon"));
    ASSERT_EQ(::fsync(file.get()), 0);
  }
  std::uint64_t left = 0;
  const auto unwritten = balloon->unwritten();
  for (const DeviceExtent& e : *unwritten)
    left += e.length;
  EXPECT_LT(left, 100 * kMiB);
  ASSERT_TRUE(balloon->resize(Bytes{}));
  EXPECT_TRUE(balloon->unwritten()->empty());
  const auto trimmed = trim_free_space(mount->directory(), Bytes{kMiB});
  ASSERT_TRUE(trimmed) << trimmed.error().message();
  EXPECT_GT(trimmed->value, 100 * kMiB);
}

INSTANTIATE_TEST_SUITE_P(Types, BalloonTest, testing::Values(FsType::Ext4, FsType::Xfs),
                         [](const auto& c) { return std::string(fs_type_name(c.param)); });

TEST_F(DeviceTest, BalloonOfExt3SaysWhatToDo) {
  make_fs(FsType::Ext3, 512 * kMiB);
  if (IsSkipped()) return;
  auto mount = DetachedMount::create(partition_);
  ASSERT_TRUE(mount) << mount.error().message();
  auto balloon = BalloonFile::open(mount->directory());
  ASSERT_TRUE(balloon) << balloon.error().message();
  const Status refused = balloon->resize(Bytes{kMiB});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::Fallocate);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("while it is not attached"));
}

TEST_F(DeviceTest, NothingToResizeIsRefused) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  EXPECT_EQ(read_facts(make_partition()).error().code, ExitCode::Param);
}

}  // namespace
}  // namespace ploop::fs
