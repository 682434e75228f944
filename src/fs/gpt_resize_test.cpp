// The table of a disk that changes its size, on plain files: always one valid copy, exactly the numbers that
// init would give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/fd.hpp"
#include "fs/balloon_file.hpp"
#include "fs/gpt.hpp"
#include "fs/test_support.hpp"

namespace ploop::fs {
namespace {

using testing::ElementsAre;

constexpr std::uint32_t kCluster = 2048;

class GptResizeTest : public testing::Test {
 protected:
  void make(std::uint64_t bytes) {
    disk_ = scratch_.sparse_file("disk", bytes);
    const Status made = create_gpt(disk_, kCluster);
    ASSERT_TRUE(made) << made.error().message();
  }
  std::string bytes(std::uint64_t offset, std::size_t length) { return bytes_of(disk_, offset, length); }
  static std::string bytes_of(const std::string& file, std::uint64_t offset, std::size_t length) {
    std::ifstream in(file, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(offset));
    std::string text(length, '\0');
    in.read(text.data(), static_cast<std::streamsize>(length));
    return text;
  }
  /// Everything in the first copy that is a place: of the header the four LBAs, of the partition first and
  /// last.
  static std::string numbers(const std::string& file) {
    return bytes_of(file, 512 + 24, 32) + bytes_of(file, 1024 + 32, 16);
  }
  void put(std::uint64_t offset, const std::string& text) {
    std::fstream out(disk_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(static_cast<std::streamoff>(offset));
    out << text;
  }
  void overwrite(std::uint64_t offset, std::size_t length) { put(offset, std::string(length, 'x')); }
  static std::string crc_of(const std::string& text) {
    std::uint32_t crc = 0xFFFFFFFF;
    for (const char c : text) {
      crc ^= static_cast<unsigned char>(c);
      for (int i = 0; i < 8; ++i)
        crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
    }
    crc = ~crc;
    std::string out;
    for (int i = 0; i < 4; ++i)
      out += static_cast<char>(crc >> (8 * i));
    return out;
  }
  /// The first copy gets a second partition, and is valid.
  void duplicate_entry() {
    put(1024 + 128, bytes(1024, 128));
    std::string header = bytes(512, 92);
    header.replace(88, 4, crc_of(bytes(1024, 128 * 128)));
    header.replace(16, 4, std::string(4, '\0'));
    header.replace(16, 4, crc_of(header));
    put(512, header);
  }
  ScratchDirectory scratch_;
  std::string disk_;
};

TEST_F(GptResizeTest, GrownTableIsThatOfALargerDisk) {
  make(kGiB);
  std::filesystem::resize_file(disk_, 2 * kGiB);
  const auto range = resize_gpt(disk_, Sectors{4194304}, kCluster);
  ASSERT_TRUE(range) << range.error().message();
  EXPECT_EQ(range->start.value, 2048U);
  EXPECT_EQ(range->start.value + range->length.value - 1, 4192255U)
      << "the number of the format's description";
  EXPECT_EQ(*read_partition(disk_), *range);
  EXPECT_EQ(bytes((4194304 - 1) * 512ULL, 8), "EFI PART");
  const std::string fresh = scratch_.sparse_file("fresh", 2 * kGiB);
  ASSERT_TRUE(create_gpt(fresh, kCluster));
  EXPECT_EQ(numbers(disk_), numbers(fresh)) << "as if it had been made for this size";
  const std::string before = bytes(0, 34 * 512);
  ASSERT_TRUE(resize_gpt(disk_, Sectors{4194304}, kCluster));
  EXPECT_EQ(bytes(0, 34 * 512), before);
}

TEST_F(GptResizeTest, ShrunkTableFitsTheSmallerDisk) {
  make(kGiB);
  const auto range = resize_gpt(disk_, Sectors{1048576}, kCluster);
  ASSERT_TRUE(range) << range.error().message();
  std::filesystem::resize_file(disk_, 512 * kMiB);
  EXPECT_EQ(*read_partition(disk_), *plan_partition(Sectors{1048576}, kCluster));
  const std::string fresh = scratch_.sparse_file("fresh", 512 * kMiB);
  ASSERT_TRUE(create_gpt(fresh, kCluster));
  EXPECT_EQ(numbers(disk_), numbers(fresh)) << "as if it had been made for this size";
}

TEST_F(GptResizeTest, HalfWrittenFirstCopyIsMendedFromTheSecond) {
  make(kGiB);
  std::filesystem::resize_file(disk_, 2 * kGiB);
  ASSERT_TRUE(resize_gpt(disk_, Sectors{4194304}, kCluster));
  overwrite(2 * 512 + 32, 8);
  const auto range = resize_gpt(disk_, Sectors{4194304}, kCluster);
  ASSERT_TRUE(range) << range.error().message();
  EXPECT_EQ(*read_partition(disk_), *range);
}

TEST_F(GptResizeTest, WhatIsNotOursIsRefusedAndStays) {
  make(kGiB);
  EXPECT_EQ(resize_gpt(disk_, Sectors{4194304}, kCluster).error().code, ExitCode::ChangeGpt)
      << "larger than the disk";
  EXPECT_EQ(resize_gpt(disk_, Sectors{4096}, kCluster).error().code, ExitCode::Param);
  overwrite(512, 8);
  overwrite(kGiB - 512, 8);
  EXPECT_EQ(resize_gpt(disk_, Sectors{2097152}, kCluster).error().code, ExitCode::ChangeGpt);
  make(kGiB);
  duplicate_entry();
  const auto refused = resize_gpt(disk_, Sectors{2097152}, kCluster);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("more than one partition"));
}

TEST(WholeClusters, AreInsideAndJoined) {
  constexpr std::uint64_t kC = 1048576;
  EXPECT_THAT(whole_clusters({}, kC, kC), ElementsAre());
  EXPECT_THAT(whole_clusters({{0, kC - 1}}, kC, kC), ElementsAre());
  EXPECT_THAT(whole_clusters({{4096, 3 * kC}}, kC, kC), ElementsAre(DeviceExtent{2 * kC, 2 * kC}));
  EXPECT_THAT(whole_clusters({{kC / 2, kC / 2}, {0, kC / 2}, {4 * kC, kC}}, kC, kC),
              ElementsAre(DeviceExtent{kC, kC}, DeviceExtent{5 * kC, kC}))
      << "two halves of a cluster, in any order";
}

}  // namespace
}  // namespace ploop::fs
