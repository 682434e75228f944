#include "descriptor/model.hpp"

#include <gtest/gtest.h>

#include "descriptor/snapshot_rows.hpp"
#include "descriptor/test_documents.hpp"

namespace ploop::descriptor {
namespace {

using namespace testing;

/// A{B, C -> top}, written in another order than the tree's.
Disk branched() {
  Disk disk = new_disk({.directory = "/d", .image = "/d/root"});
  disk.images = {{kA, "/d/root", {}}, {kTop, "/d/root.3", {}}, {kB, "/d/root.1", {}}, {kC, "/d/root.2", {}}};
  disk.shots = {{kA, kNone, false, {}}, {kTop, kC, false, {}}, {kB, kA, true, {}}, {kC, kA, false, {}}};
  return disk;
}

TEST(Disk, FollowsAChainFromBaseToNode) {
  const Disk disk = branched();
  ASSERT_TRUE(validate(disk));
  EXPECT_EQ(disk.chain(kTop), (std::vector<std::string>{"/d/root", "/d/root.2", "/d/root.3"}));
  EXPECT_EQ(disk.chain(kB), (std::vector<std::string>{"/d/root", "/d/root.1"}));
  EXPECT_EQ(disk.children(kA), (std::vector<std::string>{kB, kC}));
  EXPECT_TRUE(disk.children(kTop).empty());
  EXPECT_EQ(disk.first_image().file, "/d/root");
}

TEST(Disk, RefusesAChainOfAnUnknownNode) {
  const auto chain = branched().chain("{dddddddd-0000-4000-8000-000000000000}");
  ASSERT_FALSE(chain);
  EXPECT_EQ(chain.error().code, ExitCode::Descriptor);
}

TEST(Disk, ConvertsTheOldFormatOnlyWhenTheTopNameIsFree) {
  Disk disk = branched();
  disk.top_uuid = kB;
  const auto converted = convert_old_format(disk);
  ASSERT_FALSE(converted);
  EXPECT_EQ(converted.error().code, ExitCode::Descriptor);
}

TEST(SnapshotRows, ComeInTheOrderOfTheDescriptor) {
  const auto rows = snapshot_rows(branched());
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 4u);
  EXPECT_EQ((*rows)[0], (SnapshotRow{kNone, kA, "/d/root", false, false}));
  EXPECT_EQ((*rows)[1], (SnapshotRow{kC, kTop, "/d/root.3", true, false}));
  EXPECT_EQ((*rows)[2], (SnapshotRow{kA, kB, "/d/root.1", false, true}));
}

TEST(SnapshotRows, WithAUuidAreItsAncestryUpwards) {
  const auto rows = snapshot_rows(branched(), {.uuid = kTop});
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 3u);
  EXPECT_EQ((*rows)[0].uuid, kTop);
  EXPECT_EQ((*rows)[1].uuid, kC);
  EXPECT_EQ((*rows)[2].uuid, kA);
}

TEST(SnapshotRows, OfSnapshotsLeaveOutTheTopAndMarkItsParent) {
  const auto rows = snapshot_rows(branched(), {.uuid = {}, .snapshots_only = true});
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 3u);
  for (const SnapshotRow& row : *rows)
    EXPECT_EQ(row.current, row.uuid == kC);
}

TEST(SnapshotRows, FailWithOneForAnUnknownUuid) {
  const auto rows = snapshot_rows(branched(), {.uuid = "{dddddddd-0000-4000-8000-000000000000}"});
  ASSERT_FALSE(rows);
  EXPECT_EQ(static_cast<int>(rows.error().code), 1);
}

TEST(DescriptorName, IsTheTextBehindTheLastDot) {
  for (const char* yes : {"DiskDescriptor.xml", "foo.xml", "/a/b.c/d.xml", ".xml", "a.b.xml"}) {
    EXPECT_TRUE(is_descriptor_name(yes)) << yes;
  }
  for (const char* no : {"", "xml", "DiskDescriptor.XML", "d.xml/image", "d.xml.lck", "root.hdd", "a.xml "}) {
    EXPECT_FALSE(is_descriptor_name(no)) << no;
  }
}

}  // namespace
}  // namespace ploop::descriptor
