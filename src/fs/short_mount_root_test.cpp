// Mounts that nobody sees and freezes that nobody is left with: both must end with the process that made
// them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/fd.hpp"
#include "fs/balloon.hpp"
#include "fs/block_device.hpp"
#include "fs/detached_mount.hpp"
#include "fs/freeze.hpp"
#include "fs/holders.hpp"
#include "fs/live_root.hpp"
#include "fs/test_device.hpp"
#include "fs/usage.hpp"

namespace ploop::fs {
namespace {

using testing::SizeIs;
using namespace std::chrono_literals;

class ShortMountTest : public DeviceTest, public testing::WithParamInterface<FsType> {};

TEST_P(ShortMountTest, IsSeenByNobodyAndKeepsWhatWasWritten) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  const dev_t number = inspect_block_device(partition_)->number;
  {
    auto mount = DetachedMount::create(partition_);
    ASSERT_TRUE(mount) << mount.error().message();
    EXPECT_EQ(mount->type(), fs_type_name(GetParam()));
    EXPECT_THAT(*mount_points_of(number), SizeIs(0));
    ASSERT_TRUE(create_balloon(mount->directory()));
    EXPECT_GT(read_usage(mount->directory())->free_blocks, 0U);
    const Fd file(::openat(mount->fd(), "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_TRUE(write_all(file.get(), "kept", "f"));
    Status closed = mount->close();
    EXPECT_TRUE(closed) << closed.error().message();
  }
  auto again = DetachedMount::create(partition_, {}, {}, true);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE(find_balloon(again->directory())->has_value());
  EXPECT_EQ(*read_file(again->directory() + "/f", 100), "kept");
  EXPECT_EQ(open_file(again->directory() + "/g", O_CREAT | O_WRONLY, 0600).error().sys_errno, EROFS);
}

TEST_P(ShortMountTest, EndsWithAKilledProcess) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto mount = DetachedMount::create(partition_);
    const char ok = mount ? 'y' : 'n';
    if (::write(ends[1], &ok, 1) != 1) ::_exit(1);
    for (;;)
      ::pause();
  }
  char ok = 0;
  ASSERT_EQ(::read(ends[0], &ok, 1), 1);
  EXPECT_EQ(ok, 'y');
  const Fd busy(::open(partition_.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  EXPECT_FALSE(busy) << "the mount claims the device";
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const Fd idle(::open(partition_.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  EXPECT_TRUE(idle) << "nothing may be left of it";
  ::close(ends[0]);
  ::close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(Types, ShortMountTest, testing::Values(FsType::Ext4, FsType::Xfs),
                         [](const auto& c) { return std::string(fs_type_name(c.param)); });

TEST_F(DeviceTest, DetachedMountOfNothingSaysWhy) {
  attach(64 * kMiB);
  if (IsSkipped()) return;
  const std::string partition = make_partition();
  EXPECT_EQ(DetachedMount::create(partition).error().code, ExitCode::Mount);
  EXPECT_EQ(DetachedMount::create(partition, "ext4").error().code, ExitCode::Mount);
  const auto wrong = DetachedMount::create(partition, "ext4", "no-such-option=3");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message(), testing::HasSubstr("no-such-option"));
}

class FreezeTest : public DeviceTest {
 protected:
  void mount() {
    make_fs(FsType::Ext4, 64 * kMiB);
    if (IsSkipped()) return;
    directory_ = scratch_.path("mnt");
    ASSERT_EQ(::mkdir(directory_.c_str(), 0700), 0);
    ASSERT_TRUE(mount_filesystem({partition_, directory_, "ext4", "", false}));
  }
  Result<Freeze> hold(std::chrono::milliseconds limit = kFreezeLimit) {
    const Fd directory = TRY(open_file(directory_, O_RDONLY | O_DIRECTORY));
    return Freeze::hold(directory.get(), directory_, limit);
  }
  /// True when a file can be made there within the time.
  bool writable_within(std::chrono::milliseconds limit) {
    const pid_t child = ::fork();
    if (child == 0) {
      const int fd = ::open((directory_ + "/f" + std::to_string(::getpid())).c_str(),
                            O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
      ::_exit(fd >= 0 ? 0 : 1);
    }
    const auto deadline = std::chrono::steady_clock::now() + limit;
    int status = 0;
    while (std::chrono::steady_clock::now() < deadline) {
      if (::waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
      std::this_thread::sleep_for(5ms);
    }
    waiting_.push_back(child);
    return false;
  }
  void TearDown() override {
    for (const pid_t child : waiting_)
      ::waitpid(child, nullptr, 0);
    DeviceTest::TearDown();
  }
  std::string directory_;
  std::vector<pid_t> waiting_;
};

TEST_F(FreezeTest, HoldsWritersUntilTheThaw) {
  mount();
  if (IsSkipped()) return;
  auto freeze = hold();
  ASSERT_TRUE(freeze) << freeze.error().message();
  EXPECT_FALSE(writable_within(200ms));
  EXPECT_EQ(hold().error().code, ExitCode::Busy) << "one at a time";
  EXPECT_FALSE(writable_within(50ms)) << "the refused one must not thaw it";
  const Status thawed = freeze->thaw();
  EXPECT_TRUE(thawed) << thawed.error().message();
  EXPECT_TRUE(writable_within(5s));
}

TEST_F(FreezeTest, EndsByItselfAndSaysSo) {
  mount();
  if (IsSkipped()) return;
  auto freeze = hold(100ms);
  ASSERT_TRUE(freeze) << freeze.error().message();
  EXPECT_TRUE(writable_within(5s));
  const Status late = freeze->thaw();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ExitCode::Busy);
}

TEST_F(FreezeTest, EndsWithAKilledCommand) {
  mount();
  if (IsSkipped()) return;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto freeze = hold();
    const char ok = freeze ? 'y' : 'n';
    if (::write(ends[1], &ok, 1) != 1) ::_exit(1);
    for (;;)
      ::pause();
  }
  char ok = 0;
  ASSERT_EQ(::read(ends[0], &ok, 1), 1);
  EXPECT_EQ(ok, 'y');
  EXPECT_FALSE(writable_within(100ms));
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(writable_within(5s));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(FreezeTest, WhatCannotBeFrozenIsAnError) {
  const Fd proc(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(Freeze::hold(proc.get(), "/proc").error().code, ExitCode::System);
}

class LiveRootTest : public DeviceTest, public testing::WithParamInterface<FsType> {
 protected:
  /// Mounts it, with a file to know it by.
  void mount(bool read_only = false) {
    make_fs(GetParam(), 512 * kMiB);
    if (IsSkipped()) return;
    number_ = inspect_block_device(partition_)->number;
    directory_ = scratch_.path("mnt");
    ASSERT_EQ(::mkdir(directory_.c_str(), 0700), 0);
    ASSERT_TRUE(mount_filesystem({partition_, directory_, "", "", false}));
    ASSERT_TRUE(write_file_atomic(directory_ + "/ours", "yes", 0600));
    if (!read_only) return;
    ASSERT_TRUE(unmount_filesystem(directory_));
    ASSERT_TRUE(mount_filesystem({partition_, directory_, "", "", true}));
  }
  /// The root is found, is ours, and lies at `name`.
  void expect_found(const std::string& name) {
    auto root = LiveRoot::find(partition_, number_);
    ASSERT_TRUE(root) << root.error().message();
    ASSERT_TRUE(root->has_value());
    EXPECT_EQ((*root)->name(), name);
    EXPECT_EQ(read_file((*root)->directory() + "/ours", 10).value_or("not ours"), "yes");
    auto freeze = Freeze::hold((*root)->fd(), name);
    ASSERT_TRUE(freeze) << freeze.error().message();
    EXPECT_TRUE(freeze->thaw());
  }
  dev_t number_ = 0;
  std::string directory_;
};

TEST_P(LiveRootTest, IsWhereItIsMounted) {
  mount();
  if (IsSkipped()) return;
  expect_found(directory_);
  expect_found(directory_);
}

TEST_P(LiveRootTest, IsNotWhatWasMountedOverIt) {
  mount();
  if (IsSkipped()) return;
  ASSERT_EQ(::mount("cover", directory_.c_str(), "tmpfs", 0, nullptr), 0);
  expect_found(partition_);
  const Status unmounted = unmount_filesystem(mount_points_of(number_)->front(), kNoPatience);
  ASSERT_FALSE(unmounted);
  EXPECT_THAT(unmounted.error().message(), testing::HasSubstr("tmpfs (cover) is mounted over it"));
  EXPECT_TRUE(unmount_filesystem(directory_, kNoPatience)) << "the one above is still there";
}

TEST_P(LiveRootTest, IsNotAPartOfIt) {
  mount();
  if (IsSkipped()) return;
  const std::string part = directory_ + "/part";
  const std::string bind = scratch_.path("bind");
  ASSERT_EQ(::mkdir(part.c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(bind.c_str(), 0700), 0);
  ASSERT_EQ(::mount(part.c_str(), bind.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_TRUE(unmount_filesystem(directory_));
  expect_found(partition_);
  EXPECT_TRUE(unmount_filesystem(bind, kNoPatience));
}

TEST_P(LiveRootTest, IsFoundWithoutAnyMountPoint) {
  mount();
  if (IsSkipped()) return;
  const Fd user(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::umount2(directory_.c_str(), MNT_DETACH), 0);
  ASSERT_THAT(mounts_everywhere(std::span(&number_, 1)), SizeIs(0));
  expect_found(partition_);
}

TEST_P(LiveRootTest, IsFoundReadOnly) {
  mount(true);
  if (IsSkipped()) return;
  ASSERT_EQ(::mount("cover", directory_.c_str(), "tmpfs", 0, nullptr), 0);
  expect_found(partition_);
  EXPECT_TRUE(unmount_filesystem(directory_, kNoPatience));
}

TEST_P(LiveRootTest, IsNothingWhenItIsNotMounted) {
  make_fs(GetParam(), 512 * kMiB);
  if (IsSkipped()) return;
  const auto root = LiveRoot::find(partition_, inspect_block_device(partition_)->number);
  ASSERT_TRUE(root);
  EXPECT_FALSE(root->has_value());
}

TEST_P(LiveRootTest, NeverTakesAnotherDevicesNode) {
  mount();
  if (IsSkipped()) return;
  ASSERT_EQ(::mount("cover", directory_.c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_FALSE(LiveRoot::find(loop_->path(), number_));
  EXPECT_TRUE(unmount_filesystem(directory_, kNoPatience));
}

INSTANTIATE_TEST_SUITE_P(Types, LiveRootTest, testing::Values(FsType::Ext4, FsType::Ext3, FsType::Xfs),
                         [](const auto& c) { return std::string(fs_type_name(c.param)); });

}  // namespace
}  // namespace ploop::fs
