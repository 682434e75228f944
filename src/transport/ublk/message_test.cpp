#include "transport/ublk/message.hpp"

#include <gtest/gtest.h>
#include <linux/ioctl.h>

#include <cerrno>
#include <limits>
#include <random>

namespace ploop::transport::ublk {
namespace {

using Op = engine::Request::Op;

constexpr std::uint64_t kDeviceBytes = 8u << 20;
constexpr Limits kLimits{kDeviceBytes, 128 * 1024, true};

IoDesc desc(std::uint32_t op_flags, std::uint64_t start, std::uint32_t sectors) {
  IoDesc d;
  d.op_flags = op_flags;
  d.start_sector = start;
  d.sectors = sectors;
  return d;
}

TEST(UblkUapi, OpcodesAreThoseOfTheKernel) {
  EXPECT_EQ(kGetDevInfo, _IOR('u', 0x02, ControlBody));
  EXPECT_EQ(kAddDev, _IOWR('u', 0x04, ControlBody));
  EXPECT_EQ(kStartUserRecovery, _IOWR('u', 0x10, ControlBody));
  EXPECT_EQ(kGetFeatures, _IOR('u', 0x13, ControlBody));
  EXPECT_EQ(kUpdateSize, _IOWR('u', 0x15, ControlBody));
  EXPECT_EQ(kTryStopDev, _IOWR('u', 0x17, ControlBody));
  EXPECT_EQ(kFetch, _IOWR('u', 0x20, IoBody));
  EXPECT_EQ(kCommitAndFetch, _IOWR('u', 0x21, IoBody));
}

TEST(UblkUapi, ABufferIsNamedTogetherWithTheWishForAFallback) {
  EXPECT_EQ(auto_buffer(0), 0x10000u);
  EXPECT_EQ(auto_buffer(63), 0x1003fu);
}

TEST(UblkUapi, DataOfRequestsDoNotOverlap) {
  EXPECT_EQ(data_position(0, 0), 0x80000000u);
  EXPECT_EQ(data_position(0, 1) - data_position(0, 0), 32u << 20);
  EXPECT_EQ(data_position(1, 0) - data_position(0, 0), std::uint64_t{65536} * (32u << 20));
}

TEST(UblkMessage, UnderstandsEveryOperation) {
  const Decoded read = decode(desc(kOpRead, 8, 16), kLimits);
  EXPECT_EQ(read.error, 0);
  EXPECT_EQ(read.request.op, Op::Read);
  EXPECT_EQ(read.request.offset, 4096u);
  EXPECT_EQ(read.request.length, 8192u);
  EXPECT_TRUE(read.moves_data());

  EXPECT_TRUE(read.buffered);
  EXPECT_FALSE(decode(desc(kOpRead | kIoNoBuffer, 8, 16), kLimits).buffered);

  const Decoded write = decode(desc(kOpWrite | kIoFua, 0, 1), kLimits);
  EXPECT_EQ(write.request.op, Op::Write);
  EXPECT_TRUE(write.request.fua);

  const Decoded discard = decode(desc(kOpDiscard, 0, 16384), kLimits);
  EXPECT_EQ(discard.error, 0);
  EXPECT_EQ(discard.request.op, Op::WriteZeroes);
  EXPECT_TRUE(discard.request.unmap);
  EXPECT_FALSE(discard.moves_data());

  EXPECT_TRUE(decode(desc(kOpWriteZeroes, 0, 8), kLimits).request.unmap);
  EXPECT_FALSE(decode(desc(kOpWriteZeroes | kIoNoUnmap, 0, 8), kLimits).request.unmap);

  const Decoded flush = decode(desc(kOpFlush, std::numeric_limits<std::uint64_t>::max(), 0), kLimits);
  EXPECT_EQ(flush.error, 0);
  EXPECT_EQ(flush.request.op, Op::Flush);
}

struct Hostile {
  const char* what;
  IoDesc desc;
  int error;
};

TEST(UblkMessage, RefusesWhatCanNotBe) {
  constexpr std::uint64_t kSectors = kDeviceBytes / 512;
  constexpr auto kMax64 = std::numeric_limits<std::uint64_t>::max();
  constexpr auto kMax32 = std::numeric_limits<std::uint32_t>::max();
  const Hostile table[] = {
      {"one sector behind the end", desc(kOpRead, kSectors, 1), -EIO},
      {"over the end", desc(kOpWrite, kSectors - 1, 2), -EIO},
      {"start that overflows bytes", desc(kOpWrite, kMax64 / 512 + 2, 1), -EIO},
      {"largest start", desc(kOpRead, kMax64, 1), -EIO},
      {"start and length that wrap around", desc(kOpWrite, kMax64 - 7, 8), -EIO},
      {"largest length", desc(kOpDiscard, 0, kMax32), -EIO},
      {"nothing at all", desc(kOpRead, 0, 0), -EIO},
      {"no zeroes", desc(kOpWriteZeroes, 0, 0), -EIO},
      {"more than the buffer", desc(kOpRead, 0, 257), -EINVAL},
      {"write of more than the buffer", desc(kOpWrite, 0, 257), -EINVAL},
      {"unknown operation", desc(4, 0, 8), -EOPNOTSUPP},
      {"zone report", desc(18, 0, 8), -EOPNOTSUPP},
      {"last operation", desc(255, 0, 8), -EOPNOTSUPP},
  };
  for (const Hostile& row : table)
    EXPECT_EQ(decode(row.desc, kLimits).error, row.error) << row.what;
}

TEST(UblkMessage, AReadOnlyDeviceIsNeverChanged) {
  constexpr Limits kReadOnly{kDeviceBytes, 128 * 1024, false};
  EXPECT_EQ(decode(desc(kOpWrite, 0, 8), kReadOnly).error, -EROFS);
  EXPECT_EQ(decode(desc(kOpDiscard, 0, 8), kReadOnly).error, -EROFS);
  EXPECT_EQ(decode(desc(kOpWriteZeroes, 0, 8), kReadOnly).error, -EROFS);
  EXPECT_EQ(decode(desc(kOpRead, 0, 8), kReadOnly).error, 0);
  EXPECT_EQ(decode(desc(kOpFlush, 0, 0), kReadOnly).error, 0);
}

TEST(UblkMessage, WhateverComesStaysInsideTheDevice) {
  std::mt19937_64 random(20);
  for (int i = 0; i < 200'000; ++i) {
    // Half of the starts are near the end, where it matters.
    const std::uint64_t start = i % 2 == 0 ? random() : kDeviceBytes / 512 - random() % 4096 + 64;
    const auto sectors = static_cast<std::uint32_t>(i % 3 == 0 ? random() : random() % 300);
    const Decoded d = decode(desc(static_cast<std::uint32_t>(random()), start, sectors), kLimits);
    if (d.error != 0 || d.request.op == Op::Flush) continue;
    ASSERT_LT(d.request.offset, kDeviceBytes);
    ASSERT_LE(d.request.length, kDeviceBytes - d.request.offset);
    ASSERT_NE(d.request.length, 0u);
    if (d.moves_data()) {
      ASSERT_LE(d.request.length, kLimits.max_transfer);
    }
  }
}

}  // namespace
}  // namespace ploop::transport::ublk
