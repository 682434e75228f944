// Conversions of image files.
#include "image/convert.hpp"

#include <gtest/gtest.h>

#include <random>

#include "image/check.hpp"
#include "image/test_borrowed.hpp"
#include "image/test_power_cut.hpp"
#include "image/test_stack.hpp"
#include "io/fault_file.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using format::Version;
using io::MemoryFile;

StackShape shape_of(std::mt19937_64& random) {
  return {.cluster_sectors = random() % 2 == 0 ? 64u : 128u,
          .version = random() % 2 == 0 ? Version::V1 : Version::V2,
          .clusters = {5 + random() % 60}};
}

Version other(Version version) {
  return version == Version::V1 ? Version::V2 : Version::V1;
}

void expect_sound(const MemoryFile& file) {
  const auto copy = copy_of(file);
  const auto report = check_image(*copy, {.force = true, .check = true, .read_only = true});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->exit, ExitCode::Ok);
}

TEST(ConvertVersion, ThereAndBackIsTheSameFile) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = shape_of(random);
    const Files files = make_files(shape, random);
    const auto image = copy_of(*files[0]);
    const auto head = converted_head(*open_level(copy_of(*image), shape, 0), other(shape.version));
    ASSERT_TRUE(head) << head.error().message();
    ASSERT_TRUE(apply_head(*image, *head));
    const Delta converted = *open_copy(*image);
    EXPECT_EQ(converted.header().version, other(shape.version));
    Files now;
    now.push_back(copy_of(*image));
    EXPECT_TRUE(guest_view(now, shape) == guest_view(files, shape));
    expect_sound(*image);
    ASSERT_TRUE(apply_head(*image, *converted_head(converted, shape.version)));
    EXPECT_TRUE(bytes_of(*image) == bytes_of(*files[0])) << "seed " << seed;
  }
}

TEST(ConvertVersion, RefusesWhatVersionOneCannotExpress) {
  const auto large = make_image({.clusters = std::uint64_t{1} << 26}, {});
  EXPECT_EQ(converted_head(*open_copy(*large), Version::V1).error().code, ExitCode::Param);
  // A cluster behind the last sector that 32 bits can number.
  const auto far = make_image({.clusters = 100}, {{3, (1u << 26) + 5}});
  EXPECT_EQ(converted_head(*open_copy(*far), Version::V1).error().code, ExitCode::Param);
}

TEST(ConvertVersion, AHeadOfAnotherImageIsRefused) {
  const auto image = make_image({.clusters = 100}, {{3, 1}});
  const auto longer = make_image({.clusters = 101}, {{3, 1}});
  const auto before = bytes_of(*image);
  std::vector<std::byte> head = *converted_head(*open_copy(*longer), Version::V1);
  EXPECT_EQ(apply_head(*image, head).error().code, ExitCode::Format);
  head = *converted_head(*open_copy(*image), Version::V1);
  head.resize(head.size() - 512);
  EXPECT_EQ(apply_head(*image, head).error().code, ExitCode::Format);
  head[0] = std::byte{'x'};
  EXPECT_EQ(apply_head(*image, head).error().code, ExitCode::Format);
  EXPECT_TRUE(bytes_of(*image) == before);
}

TEST(ConvertVersion, APowerCutOrFailureIsFinishedFromTheSideFile) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = shape_of(random);
    const Files files = make_files(shape, random);
    const auto expected = guest_view(files, shape);
    const auto head = *converted_head(*open_level(copy_of(*files[0]), shape, 0), other(shape.version));
    io::SimDisk disk;
    io::RecordingFile recorded(disk, copy_of(*files[0]));
    ASSERT_TRUE(apply_head(recorded, head));
    for (std::size_t cut = 0; cut <= disk.log().size(); ++cut) {
      for (std::uint64_t variant = 0; variant < 8; ++variant) {
        Files now;
        now.push_back(after_cut(*files[0], disk.log(), cut, variant));
        // Nobody takes the half converted table for a table.
        const auto opened = open_copy(*now[0], {.allow_in_use = true});
        if (opened) {
          ASSERT_TRUE(guest_view(now, shape) == expected) << "seed " << seed << " cut " << cut;
        } else {
          EXPECT_EQ(opened.error().code, ExitCode::Busy) << opened.error().message();
        }
        ASSERT_TRUE(apply_head(*now[0], head)) << "seed " << seed << " cut " << cut;
        ASSERT_TRUE(guest_view(now, shape) == expected) << "seed " << seed << " cut " << cut;
      }
    }
  }
}

TEST(Preallocate, GivesEveryClusterAPlaceAndChangesNoByte) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = shape_of(random);
    const Files files = make_files(shape, random);
    const auto expected = guest_view(files, shape);
    // Holes with old data in them.
    files[0]->set_options({.can_allocate = seed % 3 != 0});
    io::SimDisk disk;
    auto recorded = std::make_unique<io::RecordingFile>(disk, copy_of(*files[0]));
    MemoryFile& content = recorded->content();
    Delta delta = *open_level(std::move(recorded), shape, 0, true);
    ASSERT_TRUE(preallocate_image(delta));
    Files now;
    now.push_back(copy_of(content));
    ASSERT_TRUE(guest_view(now, shape) == expected) << "seed " << seed;
    const Delta full = *open_copy(*now[0]);
    EXPECT_EQ(std::count(full.table().begin(), full.table().end(), 0u), 0);
    expect_sound(*now[0]);
    for (std::size_t cut = 0; cut <= disk.log().size(); cut += 1 + random() % 3) {
      now[0] = after_cut(*files[0], disk.log(), cut, cut);
      ASSERT_TRUE(guest_view(now, shape, true) == expected) << "seed " << seed << " cut " << cut;
    }
  }
}

TEST(Preallocate, NoRoomIsSaidAndLosesNothing) {
  const auto image = make_image({.clusters = 100}, {{3, 1}, {7, 2}});
  image->set_options({.capacity = 20 * 32768});
  Files files;
  files.push_back(copy_of(*image));
  const StackShape shape{.clusters = {100}};
  const auto expected = guest_view(files, shape);
  Delta delta = *open_level(std::make_unique<Borrowed>(*image), shape, 0, true);
  const Status done = preallocate_image(delta);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ExitCode::Fallocate);
  files[0] = copy_of(*image);
  EXPECT_TRUE(guest_view(files, shape, true) == expected);
}

}  // namespace
}  // namespace ploop::image
