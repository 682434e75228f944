// Merging: whatever the stack, afterwards the destination alone reads as the stack did, and the sources are
// as they were.
#include "image/merge.hpp"

#include <gtest/gtest.h>

#include <random>

#include "image/check.hpp"
#include "image/create.hpp"
#include "image/test_borrowed.hpp"
#include "image/test_power_cut.hpp"
#include "image/test_stack.hpp"
#include "io/fault_file.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using io::MemoryFile;

const CheckOptions kLook{.force = true, .check = true, .read_only = true};
/// Many batches, so that every kind of boundary is met in a small image.
constexpr MergeBatch kSmall{.copied_bytes = 64 * kKiB, .guest_clusters = 7, .run_bytes = 128 * kKiB};

StackShape random_shape(std::mt19937_64& random) {
  StackShape shape;
  shape.cluster_sectors = random() % 2 == 0 ? 64 : 128;
  shape.version = random() % 2 == 0 ? format::Version::V1 : format::Version::V2;
  shape.raw_base = random() % 4 == 0;
  shape.can_clone = random() % 2 == 0;
  const std::size_t levels = 2 + random() % 3;
  std::uint64_t clusters = 5 + random() % 20;
  for (std::size_t level = 0; level < levels; ++level) {
    shape.clusters.push_back(clusters);
    if (random() % 3 == 0) clusters += random() % 20;
  }
  return shape;
}

/// Opens all but the base, topmost first.
std::vector<Delta> open_sources(const Files& files, const StackShape& shape) {
  std::vector<Delta> sources;
  for (std::size_t level = files.size(); level-- > 1;) {
    auto file = copy_of(*files[level]);
    sources.push_back(*open_level(std::move(file), shape, level));
  }
  return sources;
}

/// Merges everything into the base, which is `destination` (its file is given away).
Result<CopyTotals> merge_into(std::unique_ptr<io::BlockFile> destination, const Files& files,
                              const StackShape& shape, const MergeOptions& options, bool again = false) {
  const std::vector<Delta> sources = open_sources(files, shape);
  Delta base = TRY(open_level(std::move(destination), shape, 0, true, again));
  return merge(sources, base, options);
}

std::vector<std::byte> base_view(const MemoryFile& base, const StackShape& shape, bool allow_in_use = false) {
  Files alone;
  alone.push_back(copy_of(base));
  StackShape one = shape;
  one.clusters.resize(1);
  return guest_view(alone, one, allow_in_use);
}

void expect_sound(const MemoryFile& file, const StackShape& shape) {
  if (shape.raw_base) return;
  const auto copy = copy_of(file);
  const auto report = check_image(*copy, kLook);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->exit, ExitCode::Ok);
  for (const Finding& finding : report->findings)
    EXPECT_TRUE(finding.kind == FindingKind::Hole) << report->text(finding);
}

TEST(Merge, AnyStackReadsAsBefore) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = random_shape(random);
    const Files files = make_files(shape, random);
    const auto expected = guest_view(files, shape);
    const auto base = copy_of(*files[0]);
    MergeOptions options{.nothing_below = random() % 2 == 0};
    if (random() % 4 != 0) options.batch = kSmall;
    std::uint64_t last = 0, total = 0;
    options.progress = [&](std::uint64_t done, std::uint64_t all) {
      EXPECT_GE(done, last);
      last = done;
      total = all;
    };
    const auto done = merge_into(std::make_unique<Borrowed>(*base), files, shape, options);
    ASSERT_TRUE(done) << done.error().message() << " seed " << seed;
    ASSERT_TRUE(base_view(*base, shape) == expected) << "seed " << seed;
    expect_sound(*base, shape);
    EXPECT_LE(last, total) << "seed " << seed;
    if (shape.can_clone && !shape.raw_base) {
      EXPECT_EQ(done->copied_bytes, 0u) << "seed " << seed;
    }
  }
}

/// Everything, the base included, into a new image.
TEST(Merge, IntoANewImageLeavesOutZeros) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = random_shape(random);
    const Files files = make_files(shape, random);
    const auto expected = guest_view(files, shape);
    std::vector<Delta> sources = open_sources(files, shape);
    sources.push_back(*open_level(copy_of(*files[0]), shape, 0));
    MemoryFile fresh("new", {.can_clone = shape.can_clone});
    StackShape one = shape;
    one.raw_base = false;
    ASSERT_TRUE(write_new_image(fresh, {.version = shape.version,
                                        .size_sectors = sources.front().size_sectors(),
                                        .cluster_sectors = shape.cluster_sectors}));
    Delta target = *open_level(std::make_unique<Borrowed>(fresh), one, 0, true);
    ASSERT_TRUE(merge(sources, target, {.nothing_below = true, .batch = kSmall}));
    ASSERT_TRUE(base_view(fresh, one) == expected) << "seed " << seed;
    expect_sound(fresh, one);
    if (shape.can_clone) continue;
    const Delta made = *open_level(copy_of(fresh), one, 0);
    std::vector<std::byte> cluster(made.cluster_bytes());
    for (const std::uint32_t place : made.table()) {
      if (place == 0) continue;
      made.file().read(cluster, place * made.cluster_bytes());
      // The very first cluster finds out whether the file system shares.
      EXPECT_TRUE(place == made.header().header_clusters() ||
                  std::any_of(cluster.begin(), cluster.end(), [](std::byte b) { return b != std::byte{0}; }))
          << "seed " << seed;
    }
  }
}

struct Mismatch {
  const char* name;
  StackShape lower, upper;
  const char* text;
};

TEST(Merge, RefusesWhatDoesNotFitBeforeTouchingAnything) {
  const StackShape good{.clusters = {20}};
  StackShape v1 = good, wide = good, large = good, raw = good;
  v1.version = format::Version::V1;
  wide.cluster_sectors = 128;
  wide.clusters = {10};
  large.clusters = {21};
  raw.raw_base = true;
  raw.clusters = {21};
  for (const Mismatch& m :
       {Mismatch{"version", v1, good, "Wrong version"}, Mismatch{"cluster", wide, good, "Wrong blocksize"},
        Mismatch{"size", large, good, "is larger than"}, Mismatch{"raw size", raw, good, "is larger than"}}) {
    std::mt19937_64 random(1);
    const Files lower = make_files(m.lower, random);
    const Files upper = make_files(m.upper, random);
    const auto before = bytes_of(*lower[0]);
    std::vector<Delta> sources;
    sources.push_back(*open_level(copy_of(*upper[0]), m.upper, 0));
    Delta base = *open_level(std::make_unique<Borrowed>(*lower[0]), m.lower, 0, true);
    const auto done = merge(sources, base);
    ASSERT_FALSE(done) << m.name;
    EXPECT_EQ(done.error().code, ExitCode::Format) << m.name;
    EXPECT_NE(done.error().what.find(m.text), std::string::npos) << done.error().what;
    EXPECT_TRUE(bytes_of(*lower[0]) == before) << m.name;
  }
}

TEST(Merge, CancelledGoesOnWhenStartedAgain) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = random_shape(random);
    const Files files = make_files(shape, random);
    const auto expected = guest_view(files, shape);
    Files now;
    for (const auto& file : files)
      now.push_back(copy_of(*file));
    int asked = 0;
    const int limit = static_cast<int>(seed % 7);
    const auto stopped = merge_into(std::make_unique<Borrowed>(*now[0]), files, shape,
                                    {.cancelled = [&] { return asked++ >= limit; }, .batch = kSmall});
    if (!stopped) {
      EXPECT_EQ(stopped.error().code, ExitCode::System);
      // The mark tells that the base by itself is nobody's state; the stack is what it was.
      EXPECT_TRUE(shape.raw_base || open_copy(*now[0], {.allow_in_use = true})->header().is_in_use());
      ASSERT_TRUE(guest_view(now, shape, true) == expected) << "seed " << seed;
    }
    ASSERT_TRUE(merge_into(std::make_unique<Borrowed>(*now[0]), files, shape, {.batch = kSmall}, true));
    ASSERT_TRUE(base_view(*now[0], shape) == expected) << "seed " << seed;
    expect_sound(*now[0], shape);
  }
}

/// Each call fails once, then the merge is repeated.
TEST(Merge, AFailureAnywhereLosesNothing) {
  std::uint64_t injected = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    for (std::uint64_t call = 0;; ++call) {
      std::mt19937_64 random(seed);
      const StackShape shape = random_shape(random);
      Files files = make_files(shape, random);
      const auto expected = guest_view(files, shape);
      Files now;
      for (const auto& file : files)
        now.push_back(copy_of(*file));
      io::FaultPlan plan;
      plan.add({.kind = std::nullopt, .first = call, .half_done = call % 2 == 0});
      auto faulty = std::make_unique<io::FaultFile>(std::make_unique<Borrowed>(*now[0]), plan);
      const auto done = merge_into(std::move(faulty), files, shape, {.batch = kSmall});
      if (plan.injected() == 0) {
        ASSERT_TRUE(done);
        break;
      }
      ++injected;
      // A clone that fails is replaced by a copy.
      if (!done) {
        ASSERT_TRUE(guest_view(now, shape, true) == expected) << "seed " << seed << " call " << call;
        ASSERT_TRUE(merge_into(std::make_unique<Borrowed>(*now[0]), files, shape, {.batch = kSmall}, true));
      }
      ASSERT_TRUE(base_view(*now[0], shape) == expected) << "seed " << seed << " call " << call;
    }
  }
  EXPECT_GE(injected, 200u);
}

TEST(Merge, APowerCutAnywhereLosesNothing) {
  std::uint64_t states = 0;
  for (std::uint64_t seed = 0; seed < 14; ++seed) {
    std::mt19937_64 random(seed);
    const StackShape shape = random_shape(random);
    const Files files = make_files(shape, random);
    const auto expected = guest_view(files, shape);
    io::SimDisk disk;
    auto recorded = std::make_unique<io::RecordingFile>(disk, copy_of(*files[0]));
    ASSERT_TRUE(merge_into(std::move(recorded), files, shape, {.batch = kSmall}));
    for (std::size_t cut = 0; cut <= disk.log().size(); ++cut) {
      for (std::uint64_t variant = 0; variant < 3; ++variant, ++states) {
        Files now;
        now.push_back(after_cut(*files[0], disk.log(), cut, variant));
        for (std::size_t level = 1; level < files.size(); ++level)
          now.push_back(copy_of(*files[level]));
        ASSERT_TRUE(guest_view(now, shape, true) == expected)
            << "seed " << seed << " cut " << cut << " " << variant;
        ASSERT_TRUE(merge_into(std::make_unique<Borrowed>(*now[0]), files, shape, {.batch = kSmall}, true));
        ASSERT_TRUE(base_view(*now[0], shape) == expected) << "seed " << seed << " cut " << cut;
        expect_sound(*now[0], shape);
      }
    }
  }
  EXPECT_GE(states, 1000u);
}

}  // namespace
}  // namespace ploop::image
