// Changing the size of an image in place: the data stays, the new space reads as zeros, whatever fails or is
// cut off.
#include "image/grow.hpp"

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
using io::MemoryFile;

const CheckOptions kLook{.force = true, .check = true, .read_only = true};

/// An image whose table must grow by clusters that are in use. Slots of 32 KiB clusters: 8176 in the first.
struct Case {
  std::uint64_t from = 0;  ///< guest clusters
  std::uint64_t to = 0;
  format::Version version = format::Version::V2;
};

Case random_case(std::mt19937_64& random) {
  Case c;
  c.from = 8000 + random() % 400;
  c.to = c.from + random() % 20000;
  c.version = random() % 2 == 0 ? format::Version::V1 : format::Version::V2;
  return c;
}

std::unique_ptr<MemoryFile> make_case(const Case& c, std::mt19937_64& random, bool can_clone) {
  const format::Header header = *format::make_header(c.from * 64, 64, c.version);
  std::vector<std::uint32_t> places;
  for (std::uint32_t i = 0; i < 9; ++i)
    places.push_back(header.header_clusters() + i);
  std::shuffle(places.begin(), places.end(), random);
  Slots slots;
  std::uint32_t guest = 0;
  for (std::uint32_t i = 0; i < random() % 8; ++i) {
    guest += 1 + static_cast<std::uint32_t>(random() % (c.from / 9));
    slots.emplace_back(guest, places[i]);
  }
  auto file = make_image({.clusters = c.from, .version = c.version}, slots);
  file->set_options({.can_clone = can_clone});
  return file;
}

/// Mapped clusters by guest number, with their content.
std::map<std::uint32_t, std::vector<std::byte>> content_of(const MemoryFile& file) {
  const auto delta = open_copy(file, {.allow_in_use = true});
  if (!delta) throw std::runtime_error(delta.error().message());
  std::map<std::uint32_t, std::vector<std::byte>> content;
  for (std::uint32_t guest = 0; guest < delta->table().size(); ++guest) {
    if (delta->table()[guest] == 0) continue;
    auto& bytes = content[guest];
    bytes.resize(delta->cluster_bytes());
    delta->file().read(bytes, delta->table()[guest] * delta->cluster_bytes());
  }
  return content;
}

Status grow(std::unique_ptr<io::BlockFile> file, std::uint64_t clusters, const ResizeOptions& options = {}) {
  Delta delta = TRY(Delta::open(std::move(file), Kind::Ploop1, {.allow_in_use = true, .writable = true}));
  return grow_image(delta, clusters * 64, options);
}

Status shrink(std::unique_ptr<io::BlockFile> file, std::uint64_t clusters,
              const ResizeOptions& options = {}) {
  Delta delta = TRY(Delta::open(std::move(file), Kind::Ploop1, {.allow_in_use = true, .writable = true}));
  return shrink_image(delta, clusters * 64, options);
}

void expect_sound(const MemoryFile& file, std::uint64_t clusters) {
  const auto copy = copy_of(file);
  const auto report = check_image(*copy, kLook);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->exit, ExitCode::Ok);
  for (const Finding& finding : report->findings)
    EXPECT_TRUE(finding.kind == FindingKind::Hole) << report->text(finding);
  const auto delta = open_copy(file);
  ASSERT_TRUE(delta) << delta.error().message();
  EXPECT_EQ(delta->size_sectors(), clusters * 64);
  EXPECT_EQ(delta->header().cylinders,
            format::make_header(clusters * 64, 64, delta->header().version)->cylinders);
}

/// docs/format.md, section 10: the worked example.
TEST(Grow, MovesTheClusterUnderTheLongerTable) {
  const auto image = make_image({.clusters = 8176}, {{0, 2}, {7, 1}, {8175, 3}});
  ASSERT_TRUE(grow(std::make_unique<Borrowed>(*image), 8192));
  EXPECT_EQ(get_slot(*image, 0), 2u);
  EXPECT_EQ(get_slot(*image, 7), 4u);
  EXPECT_EQ(get_slot(*image, 8175), 3u);
  EXPECT_EQ(image->size(), 5 * 32768);
  EXPECT_EQ(get32(*image, 0x20), 8192u);
  EXPECT_EQ(get32(*image, 0x24), 524288u);
  EXPECT_EQ(get32(*image, 0x18), 1024u);
  EXPECT_EQ(get32(*image, 0x30), 128u);
  EXPECT_EQ(get32(*image, 0x34), 0u);
  std::vector<std::byte> table(32768, std::byte{1});
  image->read(table, 32768);
  EXPECT_TRUE(std::all_of(table.begin(), table.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Grow, KeepsTheDataOfAnyImage) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const Case c = random_case(random);
    const auto image = make_case(c, random, random() % 2 == 0);
    const auto expected = content_of(*image);
    bool seen = false;
    const Status done = grow(std::make_unique<Borrowed>(*image), c.to, {.moved = [&]() -> Status {
                               // A reader that looks again here finds everything, with the old size.
                               seen = true;
                               EXPECT_TRUE(content_of(*image) == expected);
                               return {};
                             }});
    ASSERT_TRUE(done) << done.error().message() << " seed " << seed;
    EXPECT_EQ(seen, c.to != c.from);
    EXPECT_TRUE(content_of(*image) == expected) << "seed " << seed;
    expect_sound(*image, c.to);
  }
}

TEST(Grow, RefusesWithoutTouchingAnything) {
  const auto image = make_image({.clusters = 100, .version = format::Version::V1}, {{0, 1}});
  const auto before = bytes_of(*image);
  EXPECT_EQ(grow(std::make_unique<Borrowed>(*image), 99).error().code, ExitCode::Param);
  EXPECT_EQ(grow(std::make_unique<Borrowed>(*image), std::uint64_t{1} << 27).error().code, ExitCode::Param);
  EXPECT_EQ(shrink(std::make_unique<Borrowed>(*image), 101).error().code, ExitCode::Param);
  EXPECT_EQ(shrink(std::make_unique<Borrowed>(*image), 0).error().code, ExitCode::Param);
  EXPECT_TRUE(grow(std::make_unique<Borrowed>(*image), 100));
  EXPECT_TRUE(bytes_of(*image) == before);
}

TEST(Grow, AFailureAnywhereLosesNothing) {
  std::uint64_t injected = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    for (std::uint64_t call = 0;; ++call) {
      std::mt19937_64 random(seed);
      const Case c = random_case(random);
      const auto image = make_case(c, random, seed % 2 == 0);
      const auto expected = content_of(*image);
      io::FaultPlan plan;
      plan.add({.kind = std::nullopt, .first = call, .half_done = call % 2 == 0});
      const Status done =
          grow(std::make_unique<io::FaultFile>(std::make_unique<Borrowed>(*image), plan), c.to);
      if (plan.injected() == 0) break;
      ++injected;
      EXPECT_TRUE(content_of(*image) == expected) << "seed " << seed << " call " << call;
      if (!done) {
        ASSERT_TRUE(grow(std::make_unique<Borrowed>(*image), c.to));
      }
      EXPECT_TRUE(content_of(*image) == expected) << "seed " << seed << " call " << call;
      expect_sound(*image, c.to);
    }
  }
  EXPECT_GE(injected, 100u);
}

TEST(Grow, APowerCutLeavesTheOldOrTheNewSize) {
  std::uint64_t states = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    std::mt19937_64 random(seed);
    const Case c = random_case(random);
    const auto image = make_case(c, random, seed % 3 == 0);
    const auto expected = content_of(*image);
    io::SimDisk disk;
    ASSERT_TRUE(grow(std::make_unique<io::RecordingFile>(disk, copy_of(*image)), c.to));
    for (std::size_t cut = 0; cut <= disk.log().size(); ++cut) {
      for (std::uint64_t variant = 0; variant < 6; ++variant, ++states) {
        const auto file = after_cut(*image, disk.log(), cut, variant);
        ASSERT_TRUE(content_of(*file) == expected) << "seed " << seed << " cut " << cut << " " << variant;
        const std::uint64_t size = open_copy(*file, {.allow_in_use = true})->size_sectors() / 64;
        EXPECT_TRUE(size == c.from || size == c.to);
        ASSERT_TRUE(grow(std::make_unique<Borrowed>(*file), c.to));
        ASSERT_TRUE(content_of(*file) == expected);
        expect_sound(*file, c.to);
      }
    }
  }
  EXPECT_GE(states, 500u);
}

TEST(Shrink, RefusesToDropDataUnlessToldTo) {
  const auto image = make_image({.clusters = 100}, {{0, 4}, {50, 1}, {99, 2}});
  const auto before = bytes_of(*image);
  const Status refused = shrink(std::make_unique<Borrowed>(*image), 50);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::Param);
  EXPECT_TRUE(bytes_of(*image) == before);
  ASSERT_TRUE(shrink(std::make_unique<Borrowed>(*image), 50, {.drop_mapped = true}));
  // What remains moves to the front of the file.
  EXPECT_EQ(get_slot(*image, 0), 1u);
  EXPECT_EQ(image->size(), 2 * 32768);
  expect_sound(*image, 50);
}

TEST(Shrink, APowerCutLosesNothingBelowTheNewEnd) {
  std::uint64_t states = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    std::mt19937_64 random(seed);
    const Case c = random_case(random);
    const std::uint64_t to = c.from / (1 + random() % 4);
    const auto image = make_case(c, random, seed % 3 == 0);
    auto expected = content_of(*image);
    std::erase_if(expected, [&](const auto& item) { return item.first >= to; });
    io::SimDisk disk;
    ASSERT_TRUE(
        shrink(std::make_unique<io::RecordingFile>(disk, copy_of(*image)), to, {.drop_mapped = true}));
    for (std::size_t cut = 0; cut <= disk.log().size(); ++cut) {
      for (std::uint64_t variant = 0; variant < 6; ++variant, ++states) {
        const auto file = after_cut(*image, disk.log(), cut, variant);
        auto now = content_of(*file);
        std::erase_if(now, [&](const auto& item) { return item.first >= to; });
        ASSERT_TRUE(now == expected) << "seed " << seed << " cut " << cut << " " << variant;
        ASSERT_TRUE(shrink(std::make_unique<Borrowed>(*file), to, {.drop_mapped = true}));
        ASSERT_TRUE(content_of(*file) == expected);
        EXPECT_FALSE(open_copy(*file, {.allow_in_use = true})->header().is_in_use());
      }
    }
  }
  EXPECT_GE(states, 500u);
}

}  // namespace
}  // namespace ploop::image
