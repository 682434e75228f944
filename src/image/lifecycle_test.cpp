#include "image/lifecycle.hpp"

#include <gtest/gtest.h>

#include "image/test_image.hpp"
#include "io/fault_file.hpp"

namespace ploop::image {
namespace {

using namespace testing;

TEST(MarkInUse, IsDurableAndForgetsTheExtension) {
  const auto file = make_image({}, {{3, 1}});
  put32(*file, 44, format::kClosedWithExtension);
  put32(*file, 56, 64);
  auto header = open_copy(*file)->header();
  const auto slots_before = get_slot(*file, 3);
  const auto syncs = file->sync_count();
  ASSERT_TRUE(mark_in_use(*file, header));
  EXPECT_EQ(file->sync_count(), syncs + 1);
  EXPECT_EQ(get32(*file, 44), format::kInUseMark);
  EXPECT_EQ(get32(*file, 56), 0u);
  EXPECT_EQ(get_slot(*file, 3), slots_before);
  EXPECT_TRUE(header.is_in_use());
}

TEST(MarkInUse, FailureLeavesTheHeaderValueAlone) {
  for (const io::OpKind kind : {io::OpKind::Write, io::OpKind::Sync}) {
    io::FaultPlan plan;
    plan.add({.kind = kind});
    const auto image = make_image({}, {{3, 1}});
    auto header = open_copy(*image)->header();
    io::FaultFile file(copy_of(*image), plan);
    const Status status = mark_in_use(file, header);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, kind == io::OpKind::Write ? ExitCode::Write : ExitCode::Fsync);
    EXPECT_FALSE(header.is_in_use());
  }
}

TEST(CloseImage, CutsTheTailAndClearsMarkAndEmptyFlag) {
  const auto file = make_image({}, {{3, 1}, {4, 2}});
  file->truncate(9 * 32768);
  auto header = open_copy(*file)->header();
  header.flags = format::kFlagEmpty;
  ASSERT_TRUE(mark_in_use(*file, header));
  ASSERT_TRUE(close_image(*file, header, 3));
  EXPECT_EQ(file->size(), 3 * 32768);
  EXPECT_EQ(get32(*file, 44), 0u);
  EXPECT_EQ(get32(*file, 52), 0u);
  EXPECT_EQ(get32(*file, 56), 0u);
  const auto delta = open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
  ASSERT_TRUE(delta);
  EXPECT_EQ(delta->header(), header);
}

TEST(CloseImage, EmptyImageStaysMarkedEmptyAndKeepsItsHeader) {
  const auto file = make_image({.clusters = 9000}, {});
  file->truncate(7 * 32768);
  auto header = open_copy(*file)->header();
  ASSERT_TRUE(mark_in_use(*file, header));
  ASSERT_TRUE(close_image(*file, header, 0));
  EXPECT_EQ(file->size(), 2 * 32768);
  EXPECT_EQ(get32(*file, 52), format::kFlagEmpty);
}

TEST(CloseImage, NeverMakesAShortFileLonger) {
  const auto file = make_image({}, {{3, 1}});
  auto header = open_copy(*file)->header();
  file->truncate(40000);
  ASSERT_TRUE(close_image(*file, header, 2));
  EXPECT_EQ(file->size(), 40000);
}

/// The mark must not be cleared unless everything before it is durable.
TEST(CloseImage, FailureBeforeTheHeaderLeavesTheMark) {
  const auto image = make_image({}, {{3, 1}});
  image->truncate(9 * 32768);
  auto header = open_copy(*image)->header();
  ASSERT_TRUE(mark_in_use(*image, header));
  for (const io::OpKind kind : {io::OpKind::Sync, io::OpKind::Truncate, io::OpKind::Write}) {
    io::FaultPlan plan;
    plan.add({.kind = kind});
    io::FaultFile file(copy_of(*image), plan);
    format::Header copy = header;
    EXPECT_FALSE(close_image(file, copy, 2));
    EXPECT_TRUE(copy.is_in_use());
    EXPECT_EQ(get32(file.inner(), 44), format::kInUseMark);
  }
}

}  // namespace
}  // namespace ploop::image
