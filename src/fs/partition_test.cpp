#include "fs/partition.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "fs/block_device.hpp"
#include "fs/mount.hpp"
#include "fs/test_support.hpp"

namespace ploop::fs {
namespace {

TEST(KernelPartitions, OfAPlainFileAreAnError) {
  const ScratchDirectory scratch;
  const std::string file = scratch.sparse_file("disk", kMiB);
  EXPECT_EQ(kernel_partition(file).error().code, ExitCode::Device);
  EXPECT_EQ(set_kernel_partition(file, {Sectors{1}, Sectors{1}}).error().code, ExitCode::Device);
  EXPECT_EQ(kernel_partition("/nonexistent").error().code, ExitCode::Device);
}

TEST(Nodes, NeverTouchWhatIsNoBlockNode) {
  const ScratchDirectory scratch;
  const std::string file = scratch.sparse_file("ploop0", 5);
  EXPECT_EQ(make_node(file, 1).error().code, ExitCode::Mknod);
  EXPECT_EQ(remove_node(file).error().code, ExitCode::Unlink);
  EXPECT_EQ(std::filesystem::file_size(file), 5U);
  std::filesystem::create_symlink("/dev/null", scratch.path("link"));
  EXPECT_FALSE(remove_node(scratch.path("link")));
  EXPECT_TRUE(std::filesystem::is_symlink(scratch.path("link")));
}

TEST(Nodes, RemovingAMissingOneIsFine) {
  const ScratchDirectory scratch;
  EXPECT_TRUE(remove_node(scratch.path("ploop0")));
}

TEST(BlockDeviceFacts, PlainFileIsRefused) {
  EXPECT_EQ(inspect_block_device("/etc/passwd").error().code, ExitCode::Device);
}

TEST(HostFileSystemFacts, KnowsMemoryAndMissingPaths) {
  const auto shm = host_file_system("/dev/shm");
  if (shm && shm->type == "tmpfs") {
    EXPECT_TRUE(shm->in_memory);
  }
  const auto root = host_file_system("/");
  ASSERT_TRUE(root) << root.error().message();
  EXPECT_FALSE(root->type.empty());
  EXPECT_EQ(host_file_system("/nonexistent").error().code, ExitCode::Stat);
}

TEST(MountPoints, AreFoundByDirectory) {
  EXPECT_TRUE(is_mount_point("/"));
  EXPECT_TRUE(is_mount_point("/proc"));
  EXPECT_FALSE(is_mount_point("/proc/self"));
  EXPECT_FALSE(is_mount_point("/nonexistent"));
  const auto proc = mount_at("/proc/");
  ASSERT_TRUE(proc) << proc.error().message();
  EXPECT_EQ(proc->type, "proc");
  const auto wrong = mount_at("/etc");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ExitCode::Param);
  EXPECT_EQ(mount_at("/nonexistent").error().code, ExitCode::Param);
}

TEST(MountPoints, OfAnUnknownDeviceAreNone) {
  const auto mounts = mount_points_of(0xfffff);
  ASSERT_TRUE(mounts) << mounts.error().message();
  EXPECT_TRUE(mounts->empty());
}

}  // namespace
}  // namespace ploop::fs
