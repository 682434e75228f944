// A loop device with a partition and a file system for the tests that need root.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

#include "fs/gpt.hpp"
#include "fs/mkfs.hpp"
#include "fs/mount.hpp"
#include "fs/partition.hpp"
#include "fs/test_support.hpp"

namespace ploop::fs {

inline constexpr UnmountOptions kNoPatience{0, std::chrono::milliseconds{0}};

/// A loop device over a sparse file and a node for its partition, all gone afterwards.
class DeviceTest : public testing::Test {
 protected:
  void attach(std::uint64_t bytes) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    loop_ = std::make_unique<LoopDevice>(scratch_.sparse_file("disk", bytes));
    if (!loop_->valid()) GTEST_SKIP() << "needs a free loop device";
  }
  /// Table, kernel partition and node; the path of the node.
  std::string make_partition(std::uint32_t cluster_sectors = 2048) {
    const Status made = create_gpt(loop_->path(), cluster_sectors);
    EXPECT_TRUE(made) << made.error().message();
    const auto number = update_kernel_partitions(loop_->path());
    EXPECT_TRUE(number) << number.error().message();
    EXPECT_TRUE(number->has_value());
    const Status node = make_node(scratch_.path("p1"), number->value());
    EXPECT_TRUE(node) << node.error().message();
    return scratch_.path("p1");
  }
  void make_fs(FsType type, std::uint64_t bytes) {
    attach(bytes);
    if (IsSkipped()) return;
    partition_ = make_partition();
    MkfsOptions options;
    options.type = type;
    const Status made = make_filesystem(partition_, options);
    ASSERT_TRUE(made) << made.error().message();
  }
  void TearDown() override {
    if (is_mount_point(scratch_.path("mnt")))
      ignore(unmount_filesystem(scratch_.path("mnt"), kNoPatience), "the test has failed already");
    if (loop_ && loop_->valid()) ignore(remove_kernel_partitions(loop_->path()), "goes with the loop device");
  }
  ScratchDirectory scratch_;
  std::unique_ptr<LoopDevice> loop_;
  std::string partition_;
};

}  // namespace ploop::fs
