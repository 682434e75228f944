// What needs root, a loop device and mounts: the kernel's partitions, mkfs, mount, balloon, holders together
// on a real device. Skips with the reason where these can't be had.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memory>

#include "base/fd.hpp"
#include "fs/balloon.hpp"
#include "fs/block_device.hpp"
#include "fs/gpt.hpp"
#include "fs/holders.hpp"
#include "fs/mkfs.hpp"
#include "fs/mount.hpp"
#include "fs/partition.hpp"
#include "fs/test_device.hpp"
#include "fs/usage.hpp"

namespace ploop::fs {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

TEST_F(DeviceTest, KernelGetsThePartitionAndLosesIt) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  const std::string node = make_partition();
  const auto facts = inspect_block_device(node);
  ASSERT_TRUE(facts) << facts.error().message();
  EXPECT_EQ(facts->size.value, 62 * kMiB);
  EXPECT_EQ(facts->sector_size, 512U);
  EXPECT_FALSE(facts->read_only);
  EXPECT_EQ(kernel_partition(loop_->path())->value(), facts->number);
  EXPECT_EQ(update_kernel_partitions(loop_->path())->value(), facts->number) << "a right one stays";
  ASSERT_TRUE(remove_kernel_partitions(loop_->path()));
  EXPECT_FALSE(kernel_partition(loop_->path())->has_value());
  ASSERT_TRUE(remove_node(node));
  struct stat st {};
  EXPECT_NE(::lstat(node.c_str(), &st), 0);
}

TEST_F(DeviceTest, WrongPartitionIsReplaced) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  ASSERT_TRUE(create_gpt(loop_->path(), 2048));
  ASSERT_TRUE(set_kernel_partition(loop_->path(), {Sectors{1}, Sectors{100}}));
  const auto number = update_kernel_partitions(loop_->path());
  ASSERT_TRUE(number) << number.error().message();
  ASSERT_TRUE(make_node(scratch_.path("p1"), number->value()));
  EXPECT_EQ(inspect_block_device(scratch_.path("p1"))->size.value, 62 * kMiB);
}

TEST_F(DeviceTest, BusyPartitionIsAnErrorInTheEnd) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  const std::string node = make_partition();
  const Fd open(::open(node.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(open);
  const Status removed = remove_kernel_partitions(loop_->path(), std::chrono::milliseconds{30});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ExitCode::DeviceIoctl);
  EXPECT_EQ(removed.error().sys_errno, EBUSY);
}

TEST_F(DeviceTest, HoldersOfTheDeviceAreNamed) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  const dev_t number = inspect_block_device(loop_->path())->number;
  EXPECT_THAT(block_device_holders(std::span(&number, 1)), SizeIs(0));
  // A child that holds the device open on its stdin until its pipe is closed.
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::close(ends[1]);
    const int held = ::open(loop_->path().c_str(), O_RDONLY);
    char c = held >= 0 ? 'y' : 'n';
    while (::read(ends[0], &c, 1) > 0) {
    }
    ::_exit(0);
  }
  std::vector<Holder> holders;
  for (int i = 0; i < 200 && holders.empty(); ++i) {
    ::usleep(10'000);
    holders = block_device_holders(std::span(&number, 1));
  }
  EXPECT_THAT(describe_holders(holders), HasSubstr("(" + std::to_string(child) + "): open " + loop_->path()));
  const pid_t ignored[] = {child};
  EXPECT_THAT(block_device_holders(std::span(&number, 1), ignored), SizeIs(0));
  ::close(ends[0]);
  ::close(ends[1]);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
}

class FileSystemTest : public DeviceTest, public testing::WithParamInterface<FsType> {};

TEST_P(FileSystemTest, LivesThroughItsLife) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  const std::string type(fs_type_name(GetParam()));
  const auto detected = detect_filesystem(partition_);
  ASSERT_TRUE(detected) << detected.error().message();
  EXPECT_EQ(*detected, type);

  const std::string where = scratch_.path("mnt");
  {
    ASSERT_EQ(::mkdir(where.c_str(), 0700), 0);
    const Status mounted = mount_filesystem({partition_, where, "", "noatime", false});
    ASSERT_TRUE(mounted) << mounted.error().message();
    ASSERT_TRUE(create_balloon(where));
    EXPECT_EQ(create_balloon(where).error().code, ExitCode::Create);
    const auto balloon = find_balloon(where);
    ASSERT_TRUE(balloon && balloon->has_value());
    if (GetParam() == FsType::Ext4) {
      EXPECT_EQ((*balloon)->inode, 12U);
    }
    EXPECT_EQ((*balloon)->size.value, 0U);
    EXPECT_GT(read_usage(where)->free_blocks, 0U);
    const dev_t number = inspect_block_device(partition_)->number;
    const auto mounts = mount_points_of(number);
    ASSERT_TRUE(mounts);
    ASSERT_THAT(*mounts, SizeIs(1));
    EXPECT_EQ(mounts->front().directory, where);
    EXPECT_EQ(mounts->front().type, type);
    EXPECT_FALSE(mounts->front().read_only);
    EXPECT_EQ(mount_at(where)->device, number);
    EXPECT_THAT(describe_holders(block_device_holders(std::span(&number, 1))),
                HasSubstr("mounted at " + where));
  }
  ASSERT_TRUE(unmount_filesystem(where));
  if (GetParam() != FsType::Xfs) {
    EXPECT_TRUE(check_ext_filesystem(partition_, true));
  }
}

TEST_P(FileSystemTest, ReadOnlyMountRefusesWrites) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  ASSERT_EQ(::mkdir(scratch_.path("mnt").c_str(), 0700), 0);
  const Status mounted = mount_filesystem({partition_, scratch_.path("mnt"), "", "", true});
  ASSERT_TRUE(mounted) << mounted.error().message();
  EXPECT_TRUE(mount_at(scratch_.path("mnt"))->read_only);
  const Status made = create_balloon(scratch_.path("mnt"));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().sys_errno, EROFS);
  EXPECT_TRUE(unmount_filesystem(scratch_.path("mnt")));
}

INSTANTIATE_TEST_SUITE_P(Types, FileSystemTest, testing::Values(FsType::Ext4, FsType::Ext3, FsType::Xfs),
                         [](const auto& c) { return std::string(fs_type_name(c.param)); });

TEST_F(DeviceTest, SmallDisksGetAFileSystemToo) {
  for (const unsigned size : {8U, 16U, 64U, 262U, 273U, 274U, 300U}) {
    make_fs(FsType::Ext4, size * kMiB);
    if (IsSkipped() || HasFatalFailure()) return;
    EXPECT_EQ(*detect_filesystem(partition_), "ext4") << size;
    ASSERT_TRUE(remove_node(partition_));
    ASSERT_TRUE(remove_kernel_partitions(loop_->path()));
    loop_.reset();
  }
}

TEST_F(DeviceTest, TooSmallForXfsSaysSo) {
  attach(200 * kMiB);
  if (IsSkipped()) return;
  MkfsOptions options;
  options.type = FsType::Xfs;
  const Status made = make_filesystem(make_partition(), options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ExitCode::Mkfs);
  EXPECT_THAT(made.error().message(), HasSubstr("at least 300 MiB"));
}

TEST_F(DeviceTest, WrongBlockSizeIsTheMkfsError) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  MkfsOptions options;
  const std::string partition = make_partition();
  for (const std::uint32_t size : {0U, 512U, 5000U, 131072U}) {
    options.block_size = size;
    const Status made = make_filesystem(partition, options);
    ASSERT_FALSE(made) << size;
    EXPECT_EQ(made.error().code, ExitCode::Mkfs);
  }
}

TEST_F(DeviceTest, BusyUnmountNamesTheUserAndFails) {
  make_fs(FsType::Ext4, 64 * kMiB);
  if (IsSkipped()) return;
  const std::string directory = scratch_.path("mnt");
  ASSERT_EQ(::mkdir(directory.c_str(), 0700), 0);
  ASSERT_TRUE(mount_filesystem({partition_, directory, "ext4", "", false}));
  {
    const Fd open(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const auto holders = file_system_holders(mount_at(directory)->device);
    EXPECT_THAT(describe_holders(holders), HasSubstr("open " + directory));
    const Status unmounted = unmount_filesystem(directory, {1, std::chrono::milliseconds{1}});
    ASSERT_FALSE(unmounted);
    EXPECT_EQ(unmounted.error().code, ExitCode::Umount);
    EXPECT_EQ(unmounted.error().sys_errno, EBUSY);
    EXPECT_TRUE(is_mount_point(directory));
  }
  EXPECT_TRUE(unmount_filesystem(directory));
  EXPECT_FALSE(is_mount_point(directory));
}

TEST_F(DeviceTest, MountingNothingIsRefusedWithoutATrace) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  const std::string partition = make_partition();
  EXPECT_EQ(mount_filesystem({partition, scratch_.path(), "", "", false}).error().code, ExitCode::Mount);
  EXPECT_EQ(mount_filesystem({partition, scratch_.path(), "ext4", "", false}).error().code, ExitCode::Mount);
  EXPECT_EQ(check_ext_filesystem(partition).error().code, ExitCode::Fsck);
}

}  // namespace
}  // namespace ploop::fs
