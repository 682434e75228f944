// The acceptance table of the original, row by row, with data in every delta that is compared after each
// step. Rows that differ on purpose say why.
#include "format/header.hpp"
#include "snapshot_disk.hpp"

namespace ploop::test {
namespace {

struct Row {
  const char* name;
  std::vector<std::string> commands;  ///< all but the last one succeed
  int status;                         ///< of the last one
  const char* chain;                  ///< "" : the last one changes nothing
  const char* files;
};

class Acceptance : public testing::TestWithParam<Row> {};

TEST_P(Acceptance, Row) {
  const Row& row = GetParam();
  SnapshotDisk disk;
  for (std::size_t i = 0; i + 1 < row.commands.size(); ++i) {
    const ProcessResult result = disk.command(row.commands[i]);
    ASSERT_EQ(result.status, 0) << row.commands[i] << ": " << result.err;
    disk.verify(row.commands[i]);
    disk.write();
  }
  const std::string before = disk.state();
  const ProcessResult result = disk.command(row.commands.back());
  EXPECT_EQ(result.status, row.status) << result.err;
  disk.verify(row.commands.back());
  if (*row.chain == '\0') {
    EXPECT_EQ(disk.state(), before);
  } else {
    EXPECT_EQ(disk.chain(), row.chain);
    EXPECT_EQ(disk.files(), row.files);
  }
  EXPECT_EQ(disk.box().ploop({"check", "DiskDescriptor.xml"}).status, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Cli, Acceptance,
    testing::Values(
        Row{"snapshot", {"snapshot A"}, 0, "A:r TOP:d1", "r d1"},
        Row{"two_snapshots", {"snapshot A", "snapshot B"}, 0, "A:r B:d1 TOP:d2", "r d1 d2"},
        Row{"name_taken", {"snapshot A", "snapshot B", "snapshot A"}, 38, "", ""},
        Row{"switch_", {"snapshot A", "snapshot B", "switch A"}, 0, "A:r TOP:d3", "r d1 d3"},
        Row{"switch_to_top", {"snapshot A", "snapshot B", "switch TOP"}, 38, "", ""},
        Row{"delete_with_two_children",
            {"snapshot A", "snapshot B", "switch A", "snapshot C", "delete A"},
            0,
            "A:r* C:d3 TOP:d4",
            "r d1 d3 d4"},
        // 0 instead of 1: a temporary node with several children is left alone (R4).
        Row{"then_snapshot",
            {"snapshot A", "snapshot B", "switch A", "snapshot C", "delete A", "snapshot D"},
            0,
            "A:r* C:d3 D:d4 TOP:d5",
            "r d1 d3 d4 d5"},
        Row{"then_switch_to_it",
            {"snapshot A", "snapshot B", "switch A", "snapshot C", "delete A", "switch A"},
            38,
            "",
            ""},
        // 0 instead of 1: it is marked, which is what was asked for.
        Row{"then_delete_it_again",
            {"snapshot A", "snapshot B", "switch A", "snapshot C", "delete A", "delete A"},
            0,
            "",
            ""},
        Row{"then_delete_the_other_branch",
            {"snapshot A", "snapshot B", "switch A", "snapshot C", "delete A", "delete B"},
            0,
            "C:r TOP:d4",
            "r d4"},
        Row{"roll_back", {"snapshot A", "snapshot B", "delete TOP"}, 0, "A:r TOP:d1", "r d1"},
        // A stays and a new top takes the old one's place: the original made A the top, below B.
        Row{"roll_back_to_a_shared_node",
            {"snapshot A", "snapshot B", "switch A", "delete TOP"},
            0,
            "A:r TOP:d4",
            "r d1 d4"},
        Row{"delete_only_snapshot", {"snapshot A", "delete A"}, 0, "TOP:r", "r"},
        Row{"delete_top_of_one", {"delete TOP"}, 38, "", ""},
        Row{"delete_unknown", {"snapshot A", "delete X"}, 43, "", ""},
        Row{"delete_leaf", {"snapshot A", "snapshot B", "switch A", "delete B"}, 0, "A:r TOP:d3", "r d3"},
        Row{"merge", {"snapshot A", "snapshot B", "snapshot C", "merge"}, 0, "A:r B:d1 TOP:d2", "r d1 d2"},
        Row{"merge_u",
            {"snapshot A", "snapshot B", "snapshot C", "merge -u B"},
            0,
            "B:r C:d2 TOP:d3",
            "r d2 d3"},
        Row{"merge_range",
            {"snapshot A", "snapshot B", "snapshot C", "merge -u C -U A"},
            0,
            "C:r TOP:d3",
            "r d3"},
        Row{"merge_reversed", {"snapshot A", "snapshot B", "snapshot C", "merge -u A -U C"}, 38, "", ""},
        Row{"merge_all", {"snapshot A", "snapshot B", "snapshot C", "merge -A"}, 0, "TOP:r", "r"},
        Row{"merge_all_to_new", {"snapshot A", "snapshot B", "snapshot C", "merge -A -n n"}, 0, "TOP:n", "n"},
        // The original crashed (R2).
        Row{"merge_pair_to_new", {"snapshot A", "snapshot B", "merge -u B -n n"}, 0, "B:n TOP:d2", "n d2"},
        Row{"merge_nothing", {"merge"}, 38, "", ""}, Row{"merge_all_nothing", {"merge -A"}, 38, "", ""},
        Row{"merge_into_shared",
            {"snapshot A", "snapshot B", "switch A", "snapshot C", "merge -u C"},
            38,
            "",
            ""}),
    [](const auto& test) { return test.param.name; });

TEST(AcceptanceLimit, HundredAndTwentySixSnapshotsAndNoMore) {
  SnapshotDisk disk({"-s", "4m", "-t", "none", "-b", "64"});
  for (int i = 0; i < 126; ++i)
    ASSERT_EQ(disk.box().ploop({"snapshot", "DiskDescriptor.xml"}).status, 0) << i;
  EXPECT_EQ(disk.disk().images.size(), 127u);
  const std::string before = slurp(disk.xml());
  const ProcessResult result = disk.box().ploop({"snapshot", "DiskDescriptor.xml"});
  EXPECT_EQ(result.status, 38);
  EXPECT_NE(result.err.find("The maximum number of snapshots (126) has been reached"), std::string::npos)
      << result.err;
  EXPECT_EQ(slurp(disk.xml()), before);
  disk.write();
  EXPECT_EQ(disk.box().ploop({"snapshot-merge", "-A", "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(disk.files(), "r");
  disk.verify("127 levels merged");
}

void set_mark(const std::string& image, std::uint32_t mark) {
  std::string bytes = slurp(image);
  for (int i = 0; i < 4; ++i)
    bytes[static_cast<std::size_t>(44 + i)] = static_cast<char>(mark >> (8 * i) & 0xff);
  write_text(image, bytes);
}
bool is_marked(const std::string& image) {
  return slurp(image).substr(44, 4) != std::string(4, '\0');
}

TEST(AcceptanceMark, CheckRepairsAndKeepsTheMarkUnlessToldTo) {
  SnapshotDisk disk;
  set_mark(disk.top_file(), format::kInUseMark);
  EXPECT_EQ(disk.box().ploop({"check", "root.hdd"}).status, 37);
  EXPECT_TRUE(is_marked(disk.top_file()));
  EXPECT_EQ(disk.box().ploop({"check", "-d", "root.hdd"}).status, 0);
  EXPECT_FALSE(is_marked(disk.top_file()));
  set_mark(disk.top_file(), format::kInUseMark);
  EXPECT_EQ(disk.box().ploop({"check", "DiskDescriptor.xml"}).status, 0);
  EXPECT_FALSE(is_marked(disk.top_file()));
}

TEST(AcceptanceMark, SnapshotRepairsTheTop) {
  SnapshotDisk disk;
  set_mark(disk.top_file(), format::kInUseMark);
  const ProcessResult result = disk.command("snapshot A");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_FALSE(is_marked(disk.box() / "root.hdd"));
  disk.verify("snapshot of a marked top");
}

TEST(AcceptanceMark, MergeRefusesAMarkedImageAndLeavesEverything) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  for (const std::string& image : {disk.top_file(), disk.box() / "root.hdd"}) {
    set_mark(image, format::kInUseMark);
    const std::string before = disk.state();
    const ProcessResult result = disk.command("merge");
    EXPECT_EQ(result.status, 4) << result.err;
    EXPECT_NE(result.err.find("Image is in use " + image), std::string::npos) << result.err;
    EXPECT_EQ(disk.state(), before);
    EXPECT_FALSE(exists(disk.box() / ".ploop-intent"));
    EXPECT_FALSE(exists(disk.box() / "DiskDescriptor.xml.tmp"));
    set_mark(image, 0);
  }
}

TEST(AcceptanceMark, ConvertRefusesAMarkedImageAndLeavesEverything) {
  SnapshotDisk disk;
  set_mark(disk.top_file(), format::kInUseMark);
  const std::string before = disk.state();
  for (const char* how : {"-v", "-f"}) {
    const ProcessResult result =
        disk.box().ploop({"convert", how, how[1] == 'v' ? "1" : "raw", "DiskDescriptor.xml"});
    EXPECT_EQ(result.status, 4) << result.err;
    EXPECT_NE(result.err.find("in use"), std::string::npos) << result.err;
    EXPECT_EQ(disk.state(), before);
    EXPECT_FALSE(exists(disk.box() / ".ploop-intent"));
  }
}

// 0 instead of 7: a lower image that a crash left marked is put right like the top (R5).
TEST(AcceptanceMark, AMarkedBaseBelowASnapshotIsPutRight) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  set_mark(disk.box() / "root.hdd", format::kInUseMark);
  EXPECT_EQ(disk.box().ploop({"check", "DiskDescriptor.xml"}).status, 0);
  EXPECT_FALSE(is_marked(disk.box() / "root.hdd"));
}

TEST(AcceptanceCheck, ASlotPastTheEndIsZeroedOnlyByHardForce) {
  SnapshotDisk disk;
  const std::string image = disk.top_file();
  std::string bytes = slurp(image);
  bytes[64 + 4 * 50] = 99;  // guest cluster 50: far behind the end
  write_text(image, bytes);
  EXPECT_EQ(disk.box().ploop({"check", "-f", "root.hdd"}).status, 11);
  EXPECT_EQ(slurp(image)[64 + 4 * 50], 99);
  EXPECT_EQ(disk.box().ploop({"check", "-F", "root.hdd"}).status, 0);
  EXPECT_EQ(slurp(image)[64 + 4 * 50], 0);
}

TEST(AcceptanceGrow, GrowsAndNeverShrinks) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.box().ploop({"grow", "-s", "200m", "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(disk.disk().size_sectors, 409600u);
  EXPECT_EQ(disk.box().ploop({"grow", "-s", "100m", "DiskDescriptor.xml"}).status, 38);
  EXPECT_EQ(disk.box().ploop({"grow", "-s", "409601", "root.hdd"}).status, 38);
  EXPECT_EQ(disk.disk().size_sectors, 409600u);
  disk.verify("grown");
}

// Disk_size follows the snapshot's, where the original kept 409600 and the descriptor disagreed with the
// device.
TEST(AcceptanceGrow, SwitchingBackBringsTheOldSizeBack) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  ASSERT_EQ(disk.box().ploop({"grow", "-s", "200m", "DiskDescriptor.xml"}).status, 0);
  ASSERT_EQ(disk.command("switch A").status, 0);
  EXPECT_EQ(disk.box().ploop({"info", "-s", "DiskDescriptor.xml"}).out,
            "size:\t\t204800\nblocksize:\t2048\nfmt_version:\t2\n");
  EXPECT_EQ(disk.disk().size_sectors, 204800u);
  disk.verify("switched");
}

TEST(AcceptanceGrow, MergingALargerTopDownGrowsTheLowerImage) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  ASSERT_EQ(disk.box().ploop({"grow", "-s", "200m", "DiskDescriptor.xml"}).status, 0);
  disk.write();
  const ProcessResult merged = disk.command("merge");
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_EQ(disk.disk().size_sectors, 409600u);
  EXPECT_EQ(disk.box().ploop({"info", "-s", "DiskDescriptor.xml"}).out,
            "size:\t\t409600\nblocksize:\t2048\nfmt_version:\t2\n");
  disk.verify("merged");
}

}  // namespace
}  // namespace ploop::test
