#include "image/stack.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

#include "image/test_image.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using format::Version;

Delta open_or_die(std::unique_ptr<io::MemoryFile> file, Kind kind = Kind::Ploop1) {
  auto delta = Delta::open(std::move(file), kind,
                           {.allow_in_use = false, .writable = false, .raw_cluster_sectors = 64});
  if (!delta) throw std::runtime_error(delta.error().message());
  return std::move(*delta);
}

std::unique_ptr<io::MemoryFile> raw_file(std::uint64_t bytes, std::uint32_t tag) {
  auto file = std::make_unique<io::MemoryFile>("raw");
  for (std::uint64_t n = 0; n * 32768 < bytes; ++n) {
    file->write(pattern(tag, static_cast<std::uint32_t>(n), 32768), n * 32768);
  }
  file->truncate(bytes);
  return file;
}

template <typename... D>
std::vector<Delta> deltas(D&&... d) {
  std::vector<Delta> all;
  (all.push_back(std::forward<D>(d)), ...);
  return all;
}

TEST(Stack, HighestLevelWins) {
  auto stack =
      Stack::make(deltas(open_or_die(make_image({.clusters = 20, .tag = 1}, {{0, 1}, {1, 2}, {2, 3}})),
                         open_or_die(make_image({.clusters = 20, .tag = 2}, {{1, 2}, {5, 1}})),
                         open_or_die(make_image({.clusters = 30, .tag = 3}, {{2, 1}, {25, 3}}))));
  ASSERT_TRUE(stack) << stack.error().message();
  EXPECT_EQ(stack->levels(), 3u);
  EXPECT_EQ(stack->size_sectors(), 30u * 64);
  EXPECT_EQ(stack->guest_clusters(), 30u);
  EXPECT_EQ(stack->resolve(0), (Location{1, 0, 0}));
  EXPECT_EQ(stack->resolve(1), (Location{2, 1, 0}));
  EXPECT_EQ(stack->resolve(2), (Location{1, 2, 0}));
  EXPECT_EQ(stack->resolve(5), (Location{1, 1, 0}));
  EXPECT_EQ(stack->resolve(25), (Location{3, 2, 0}));
  EXPECT_FALSE(stack->resolve(7).present());
  EXPECT_FALSE(stack->resolve(29).present());
  const std::vector<Location> map = stack->resolve_all();
  ASSERT_EQ(map.size(), 30u);
  for (std::uint64_t guest = 0; guest < map.size(); ++guest)
    EXPECT_EQ(map[guest], stack->resolve(guest)) << guest;
}

TEST(Stack, ReadsAcrossClustersAndLevels) {
  const std::uint64_t cluster = 32768;
  auto stack = Stack::make(deltas(open_or_die(make_image({.clusters = 8, .tag = 1}, {{0, 1}, {1, 2}})),
                                  open_or_die(make_image({.clusters = 8, .tag = 2}, {{1, 1}, {3, 2}}))));
  ASSERT_TRUE(stack);
  std::vector<std::byte> expected(8 * cluster);
  const auto place = [&](std::uint32_t tag, std::uint32_t guest) {
    const auto data = pattern(tag, guest, cluster);
    std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(guest * cluster));
  };
  place(1, 0);
  place(2, 1);
  place(2, 3);
  std::mt19937_64 random(7);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t offset = random() % expected.size();
    std::vector<std::byte> got(random() % (expected.size() - offset + 1), std::byte{0x5a});
    ASSERT_TRUE(stack->read(offset, got));
    ASSERT_TRUE(std::equal(got.begin(), got.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
}

TEST(Stack, ReadOutsideOfTheDeviceIsRefused) {
  auto stack = Stack::make(deltas(open_or_die(make_image({.clusters = 8}, {}))));
  ASSERT_TRUE(stack);
  std::vector<std::byte> data(2);
  EXPECT_TRUE(stack->read(8 * 32768 - 2, data));
  EXPECT_EQ(stack->read(8 * 32768 - 1, data).error().code, ExitCode::Param);
  EXPECT_EQ(stack->read(~std::uint64_t{0}, data).error().code, ExitCode::Param);
  EXPECT_TRUE(stack->read(8 * 32768, std::span(data).first(0)));
}

TEST(Stack, RawBaseEndsInZerosAndIsCoveredByTheTop) {
  auto stack = Stack::make(deltas(open_or_die(raw_file(2 * 32768 + 1000, 9), Kind::Raw),
                                  open_or_die(make_image({.clusters = 5, .tag = 2}, {{1, 1}}))));
  ASSERT_TRUE(stack) << stack.error().message();
  EXPECT_EQ(stack->resolve(2), (Location{2, 0, 0}));
  EXPECT_FALSE(stack->resolve(3).present());
  EXPECT_EQ(stack->resolve_all()[0], (Location{0, 0, 0}));
  EXPECT_TRUE(stack->resolve_all()[0].present());
  std::vector<std::byte> got(5 * 32768, std::byte{0x77});
  ASSERT_TRUE(stack->read(0, got));
  std::vector<std::byte> expected(5 * 32768);
  const auto place = [&](const std::vector<std::byte>& data, std::size_t at, std::size_t count) {
    std::copy_n(data.begin(), count, expected.begin() + static_cast<std::ptrdiff_t>(at));
  };
  place(pattern(9, 0, 32768), 0, 32768);
  place(pattern(2, 1, 32768), 32768, 32768);
  place(pattern(9, 2, 32768), 65536, 1000);
  EXPECT_EQ(got, expected);
}

TEST(Stack, UnalignedSingleImageIsReadToItsLastSector) {
  auto file = make_image({.clusters = 11}, {{10, 1}});
  put32(*file, 36, 10 * 64 + 1);
  auto stack = Stack::make(deltas(open_or_die(std::move(file))));
  ASSERT_TRUE(stack);
  EXPECT_EQ(stack->guest_clusters(), 11u);
  std::vector<std::byte> got(512);
  ASSERT_TRUE(stack->read(10 * 32768, got));
  EXPECT_TRUE(std::equal(got.begin(), got.end(), pattern(0x41, 10, 32768).begin()));
  EXPECT_FALSE(stack->read(10 * 32768 + 1, got));
}

TEST(StackRules, WhatDoesNotFitTogetherIsRefused) {
  const auto image = [](const ImageShape& shape) { return open_or_die(make_image(shape, {})); };
  const auto code = [](std::vector<Delta> all) {
    const auto stack = Stack::make(std::move(all));
    return stack ? ExitCode::Ok : stack.error().code;
  };
  EXPECT_EQ(code({}), ExitCode::Param);
  EXPECT_EQ(code(deltas(image({}), image({}))), ExitCode::Ok);
  EXPECT_EQ(code(deltas(image({.clusters = 10}), image({.clusters = 11}))), ExitCode::Ok);
  EXPECT_EQ(code(deltas(image({.clusters = 11}), image({.clusters = 10}))), ExitCode::Format);
  EXPECT_EQ(code(deltas(image({.clusters = 10}), image({.clusters = 10, .cluster_sectors = 128}))),
            ExitCode::Format);
  EXPECT_EQ(code(deltas(image({.version = Version::V1}), image({.version = Version::V2}))), ExitCode::Format);
  EXPECT_EQ(code(deltas(image({.version = Version::V1}), image({.version = Version::V1}))), ExitCode::Ok);
  EXPECT_EQ(code(deltas(image({}), open_or_die(raw_file(32768, 1), Kind::Raw))), ExitCode::Format);
  EXPECT_EQ(code(deltas(open_or_die(raw_file(32768, 1), Kind::Raw), image({.version = Version::V1}))),
            ExitCode::Ok);
  EXPECT_EQ(code(deltas(open_or_die(raw_file(32768 * 600, 1), Kind::Raw), image({}))), ExitCode::Format);
  auto unaligned = make_image({.clusters = 10}, {});
  put32(*unaligned, 36, 10 * 64 - 1);
  EXPECT_EQ(code(deltas(open_or_die(copy_of(*unaligned)), image({.clusters = 10}))), ExitCode::Format);
  std::vector<Delta> many;
  for (std::size_t i = 0; i < kMaxLevels; ++i)
    many.push_back(image({.clusters = 10}));
  many.push_back(image({.clusters = 10}));
  EXPECT_EQ(code(std::move(many)), ExitCode::Param);
}

TEST(StackRules, MaximumDepthResolvesLikeTheTopAlone) {
  std::vector<Delta> all;
  std::vector<std::uint16_t> owner(400, Location::kNowhere);
  std::mt19937_64 random(3);
  for (std::size_t level = 0; level < kMaxLevels; ++level) {
    Slots slots;
    for (std::uint32_t i = 0; i < 5; ++i) {
      const auto guest = static_cast<std::uint32_t>(i * 80 + random() % 80);
      slots.emplace_back(guest, i + 1);
      owner[guest] = static_cast<std::uint16_t>(level);
    }
    all.push_back(open_or_die(make_image({.clusters = 400}, slots)));
  }
  const auto stack = Stack::make(std::move(all));
  ASSERT_TRUE(stack);
  const auto map = stack->resolve_all();
  for (std::size_t guest = 0; guest < owner.size(); ++guest)
    EXPECT_EQ(map[guest].level, owner[guest]) << guest;
}

}  // namespace
}  // namespace ploop::image
