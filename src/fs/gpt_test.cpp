#include "fs/gpt.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <vector>

#include "fs/test_support.hpp"

namespace ploop::fs {
namespace {

using Bytes8 = std::vector<unsigned>;

/// `count` bytes of the file as numbers, which print well when they differ.
Bytes8 bytes_at(const std::string& path, std::uint64_t offset, std::size_t count) {
  std::ifstream file(path, std::ios::binary);
  std::string text(count, '\0');
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(text.data(), static_cast<std::streamsize>(count));
  Bytes8 out;
  for (const char c : text)
    out.push_back(static_cast<unsigned char>(c));
  return out;
}

std::uint32_t crc32(const Bytes8& data) {
  std::uint32_t crc = 0xffffffff;
  for (const unsigned byte : data) {
    crc ^= byte;
    for (int i = 0; i < 8; ++i)
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320U : 0U);
  }
  return ~crc;
}

Bytes8 little_endian(std::uint64_t value, int bytes) {
  Bytes8 out;
  for (int i = 0; i < bytes; ++i)
    out.push_back(static_cast<unsigned>(value >> (8 * i)) & 0xff);
  return out;
}

void overwrite(const std::string& path, std::uint64_t offset, std::string_view text) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
}

struct PlanCase {
  const char* name;
  std::uint64_t size;
  std::uint32_t cluster;
  std::uint64_t start;
  std::uint64_t length;
};

class PartitionPlan : public testing::TestWithParam<PlanCase> {};

TEST_P(PartitionPlan, StartsAndEndsOnClusterBoundaries) {
  const PlanCase& c = GetParam();
  const auto plan = plan_partition(Sectors{c.size}, c.cluster);
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_EQ(plan->start.value, c.start);
  EXPECT_EQ(plan->length.value, c.length);
}

INSTANTIATE_TEST_SUITE_P(Sizes, PartitionPlan,
                         testing::Values(PlanCase{"OneGiB", 2097152, 2048, 2048, 2093056},
                                         PlanCase{"SmallClusters", 32768, 64, 64, 32640},
                                         PlanCase{"ThreeClusters", 6144, 2048, 2048, 2048},
                                         PlanCase{"UnalignedSize", 6145, 2048, 2048, 2048},
                                         PlanCase{"SixteenTiB", std::uint64_t{1} << 35, 2048, 2048,
                                                  (std::uint64_t{1} << 35) - 4096}),
                         [](const auto& c) { return c.param.name; });

TEST(PartitionPlanRefusal, NamesTheSmallestSize) {
  const auto plan = plan_partition(Sectors{4096}, 2048);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ExitCode::Param);
  EXPECT_EQ(plan.error().message(), "Image size should be greater than 4096");
}

TEST(PartitionPlanRefusal, ClusterWithoutRoomForTheTable) {
  EXPECT_EQ(plan_partition(Sectors{4096}, 32).error().code, ExitCode::Param);
}

class GptBytes : public testing::Test {
 protected:
  void SetUp() override {
    disk_ = scratch_.sparse_file("disk", kGiB);
    const Status made = create_gpt(disk_, 2048);
    ASSERT_TRUE(made) << made.error().message();
  }
  ScratchDirectory scratch_;
  std::string disk_;
};

TEST_F(GptBytes, ProtectiveEntryCoversTheDisk) {
  EXPECT_EQ(bytes_at(disk_, 0x1be, 16),
            (Bytes8{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0x1f, 0}));
  EXPECT_EQ(bytes_at(disk_, 0x1fe, 2), (Bytes8{0x55, 0xaa}));
}

TEST_F(GptBytes, HeaderHasTheKnownPositions) {
  EXPECT_EQ(bytes_at(disk_, 0x200, 16),
            (Bytes8{0x45, 0x46, 0x49, 0x20, 0x50, 0x41, 0x52, 0x54, 0, 0, 1, 0, 0x5c, 0, 0, 0}));
  EXPECT_EQ(bytes_at(disk_, 0x218, 8), little_endian(1, 8));
  EXPECT_EQ(bytes_at(disk_, 0x220, 8), little_endian(2097151, 8)) << "place of the second header";
  EXPECT_EQ(bytes_at(disk_, 0x228, 8), little_endian(34, 8)) << "first usable";
  EXPECT_EQ(bytes_at(disk_, 0x230, 8), little_endian(2097118, 8)) << "last usable";
  EXPECT_EQ(bytes_at(disk_, 0x248, 16), (Bytes8{2, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x80, 0, 0, 0}));
}

TEST_F(GptBytes, EntryIsTheLinuxPartitionNamedPrimary) {
  EXPECT_EQ(bytes_at(disk_, 0x400, 16), (Bytes8{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79,
                                                0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}));
  EXPECT_EQ(bytes_at(disk_, 0x420, 8), little_endian(2048, 8));
  EXPECT_EQ(bytes_at(disk_, 0x428, 8), little_endian(2095103, 8));
  EXPECT_EQ(bytes_at(disk_, 0x430, 8), little_endian(0, 8)) << "attributes";
  EXPECT_EQ(bytes_at(disk_, 0x438, 16),
            (Bytes8{'p', 0, 'r', 0, 'i', 0, 'm', 0, 'a', 0, 'r', 0, 'y', 0, 0, 0}));
  EXPECT_THAT(bytes_at(disk_, 0x480, 127 * 128), testing::Each(0U)) << "the other entries";
}

TEST_F(GptBytes, BothCopiesHaveRightChecksums) {
  const std::uint64_t last = 2097151 * 512ULL;
  for (const std::uint64_t header_at : {std::uint64_t{512}, last}) {
    Bytes8 header = bytes_at(disk_, header_at, 92);
    const Bytes8 stored(header.begin() + 16, header.begin() + 20);
    std::fill(header.begin() + 16, header.begin() + 20, 0U);
    EXPECT_EQ(stored, little_endian(crc32(header), 4)) << header_at;
    const std::uint64_t entries_at = header_at == 512 ? 1024 : last - 32 * 512;
    const Bytes8 array_crc(header.begin() + 88, header.begin() + 92);
    EXPECT_EQ(array_crc, little_endian(crc32(bytes_at(disk_, entries_at, 16384)), 4)) << header_at;
  }
  EXPECT_EQ(bytes_at(disk_, last + 0x18, 8), little_endian(2097151, 8));
  EXPECT_EQ(bytes_at(disk_, last + 0x20, 8), little_endian(1, 8));
  EXPECT_EQ(bytes_at(disk_, last + 0x48, 8), little_endian(2097119, 8));
}

TEST_F(GptBytes, ReadsBack) {
  const auto range = read_partition(disk_);
  ASSERT_TRUE(range) << range.error().message();
  EXPECT_EQ(*range, (PartitionRange{Sectors{2048}, Sectors{2093056}}));
}

TEST_F(GptBytes, DamagedFirstCopyIsReadFromTheSecond) {
  overwrite(disk_, 0x228, "XXXX");
  const auto range = read_partition(disk_);
  ASSERT_TRUE(range) << range.error().message();
  EXPECT_EQ(*range, (PartitionRange{Sectors{2048}, Sectors{2093056}}));
}

TEST_F(GptBytes, DamagedCopiesAreAnError) {
  overwrite(disk_, 0x228, "XXXX");
  overwrite(disk_, 2097151 * 512ULL + 0x28, "XXXX");
  EXPECT_EQ(read_partition(disk_).error().code, ExitCode::Param);
}

TEST(GptCreate, ReplacesAnOlderTable) {
  const ScratchDirectory scratch;
  const std::string disk = scratch.sparse_file("disk", 64 * kMiB);
  ASSERT_TRUE(create_gpt(disk, 2048));
  ASSERT_TRUE(create_gpt(disk, 64));
  EXPECT_EQ(read_partition(disk)->value(), (PartitionRange{Sectors{64}, Sectors{131072 - 128}}));
}

/// From here on sync(2), which waits for every disk of the system, ends the process.
bool forbid_sync() {
  const sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{4, const_cast<sock_filter*>(rules)};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(GptCreate, WaitsForNoOtherDisk) {
  const ScratchDirectory scratch;
  const std::string disk = scratch.sparse_file("disk", 64 * kMiB);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!forbid_sync()) ::_exit(77);
    ::_exit(create_gpt(disk, 2048) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no filter of system calls here";
  EXPECT_EQ(status, 0) << "a killed child has called sync";
}

TEST(GptCreate, SmallClustersNearTheTable) {
  const ScratchDirectory scratch;
  const std::string disk = scratch.sparse_file("disk", 3 * 64 * 512);
  const Status made = create_gpt(disk, 64);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(read_partition(disk)->value(), (PartitionRange{Sectors{64}, Sectors{64}}));
}

TEST(GptCreate, RefusesATooSmallDiskAndLeavesIt) {
  const ScratchDirectory scratch;
  const std::string disk = scratch.sparse_file("disk", 2 * kMiB);
  const Status made = create_gpt(disk, 2048);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ExitCode::Param);
  EXPECT_THAT(bytes_at(disk, 0, 4096), testing::Each(0U));
}

// A device that somebody has open can't be detached.
TEST(GptCreate, AFailureLeavesTheDeviceClosed) {
  const ScratchDirectory scratch;
  const std::string disk = scratch.sparse_file("disk", 64 * kMiB);
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  const auto before = open_files();
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{512, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status made = create_gpt(disk, 2048);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  ::signal(SIGXFSZ, SIG_DFL);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ExitCode::ChangeGpt);
  EXPECT_EQ(open_files(), before);
}

TEST(GptRead, DiskWithoutTableIsTheFileSystemItself) {
  const ScratchDirectory scratch;
  const auto range = read_partition(scratch.sparse_file("disk", kMiB));
  ASSERT_TRUE(range);
  EXPECT_FALSE(range->has_value());
}

TEST(GptRead, EmptyFileHasNoTable) {
  const ScratchDirectory scratch;
  EXPECT_FALSE(read_partition(scratch.sparse_file("disk", 0))->has_value());
}

TEST(GptRead, MissingDeviceIsAnError) {
  EXPECT_EQ(read_partition("/nonexistent/disk").error().code, ExitCode::Device);
}

}  // namespace
}  // namespace ploop::fs
