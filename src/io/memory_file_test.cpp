// MemoryFile: what a file on disk does at its edges.
#include "io/memory_file.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <vector>

namespace ploop::io {
namespace {

std::vector<std::byte> bytes(std::size_t n, int value) {
  return std::vector<std::byte>(n, static_cast<std::byte>(value));
}

TEST(MemoryFile, ReadsWhatWasWrittenAndZerosInHoles) {
  MemoryFile file("m");
  EXPECT_EQ(file.write(bytes(512, 7), 8192), 512);
  EXPECT_EQ(file.size(), 8704);
  auto out = bytes(9000, 1);
  EXPECT_EQ(file.read(out, 0), 8704);
  EXPECT_EQ(out[0], std::byte{0});
  EXPECT_EQ(out[8191], std::byte{0});
  EXPECT_EQ(out[8192], std::byte{7});
  EXPECT_EQ(out[8703], std::byte{7});
  EXPECT_EQ(out[8704], std::byte{1}) << "beyond the end nothing is delivered";
  EXPECT_EQ(file.read(out, 8704), 0);
  EXPECT_EQ(file.allocated_bytes(), 4096U);
}

TEST(MemoryFile, RandomCallsAgreeWithAPlainArray) {
  std::mt19937_64 rng(17);
  MemoryFile file("m");
  std::vector<std::byte> model;
  constexpr std::uint64_t kLimit = 64 * 1024;
  for (int step = 0; step < 5000; ++step) {
    const std::uint64_t offset = rng() % kLimit;
    const std::uint64_t length = 1 + rng() % (kLimit - offset) % 9000;
    switch (rng() % 5) {
      case 0:
      case 1: {
        const auto data = bytes(length, static_cast<int>(rng() % 255 + 1));
        if (model.size() < offset + length) model.resize(offset + length);
        std::copy(data.begin(), data.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
        ASSERT_EQ(file.write(data, offset), static_cast<std::int64_t>(length));
        break;
      }
      case 2:
        ASSERT_EQ(file.punch(offset, length), 0);
        for (auto i = offset; i < std::min<std::uint64_t>(offset + length, model.size()); ++i)
          model[i] = std::byte{0};
        break;
      case 3:
        ASSERT_EQ(file.allocate(offset, length), 0);
        if (model.size() < offset + length) model.resize(offset + length);
        break;
      default:
        if (rng() % 8 == 0) {
          ASSERT_EQ(file.truncate(offset), 0);
          model.resize(offset);
        }
    }
    std::vector<std::byte> out(model.size());
    ASSERT_EQ(file.read(out, 0), static_cast<std::int64_t>(model.size()));
    ASSERT_TRUE(out == model) << "step " << step;
  }
}

TEST(MemoryFile, SpaceIsCountedAndFreed) {
  MemoryFile file("m");
  ASSERT_EQ(file.allocate(0, 1 << 20), 0);
  EXPECT_EQ(file.allocated_bytes(), 1U << 20);
  ASSERT_EQ(file.punch(4096, 8192), 0);
  EXPECT_EQ(file.allocated_bytes(), (1U << 20) - 8192);
  EXPECT_FALSE(file.allocated(4096, 8192));
  EXPECT_TRUE(file.allocated(0, 4097));
  ASSERT_EQ(file.truncate(0), 0);
  EXPECT_EQ(file.allocated_bytes(), 0U);
}

TEST(MemoryFile, FullDiskRefusesNewSpaceOnly) {
  MemoryFileOptions options;
  options.capacity = 8192;
  MemoryFile file("m", options);
  EXPECT_EQ(file.write(bytes(8192, 1), 0), 8192);
  EXPECT_EQ(file.write(bytes(8192, 2), 0), 8192);
  EXPECT_EQ(file.write(bytes(1, 3), 8192), -ENOSPC);
  EXPECT_EQ(file.allocate(8192, 1), -ENOSPC);
  EXPECT_EQ(file.size(), 8192);
}

TEST(MemoryFile, CloneFollowsTheRulesOfReflinks) {
  MemoryFileOptions options;
  options.can_clone = true;
  MemoryFile source("s", options);
  MemoryFile target("t", options);
  ASSERT_EQ(source.write(bytes(10000, 9), 0), 10000);
  EXPECT_EQ(target.clone(source, 0, 4096, 8192), 0);
  auto out = bytes(12288, 1);
  ASSERT_EQ(target.read(out, 0), 12288);
  EXPECT_EQ(out[4095], std::byte{0});
  EXPECT_EQ(out[4096], std::byte{9});
  EXPECT_EQ(target.clone(source, 8192, 12288, 1808), 0) << "an unaligned end at the end of both files";
  EXPECT_EQ(target.clone(source, 8192, 0, 1808), -EINVAL) << "an unaligned end in the middle";
  EXPECT_EQ(target.clone(source, 1, 4096, 4096), -EINVAL);
  EXPECT_EQ(target.clone(source, 8192, 0, 4096), -EINVAL) << "beyond the source";
  target.set_options({});
  EXPECT_EQ(target.clone(source, 0, 0, 4096), -EOPNOTSUPP);
}

}  // namespace
}  // namespace ploop::io
