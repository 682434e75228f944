// What each command does to the tree, and what it refuses, without files.
#include "descriptor/tree_edit.hpp"

#include <gtest/gtest.h>

#include <random>

#include "descriptor/test_documents.hpp"

namespace ploop::descriptor {
namespace {

using namespace testing;

const std::string kD = "{dddddddd-4444-4444-8444-000000000004}";

/// "A:r B:d1 TOP:d2": every node with its file, base first, along the path to the top.
std::string path_of(const Disk& disk) {
  const auto name = [](const std::string& uuid) {
    for (const auto& [known, letter] : std::vector<std::pair<std::string, std::string>>{
             {kA, "A"}, {kB, "B"}, {kC, "C"}, {kD, "D"}, {kTop, "TOP"}}) {
      if (same_uuid(known, uuid)) return letter;
    }
    return uuid;
  };
  std::string text;
  for (const Shot* shot = disk.find_shot(disk.top_uuid); shot != nullptr;
       shot = disk.find_shot(shot->parent)) {
    text = name(shot->uuid) + ":" + disk.find_image(shot->uuid)->file.substr(3) +
           (shot->temporary ? "*" : "") + " " + text;
  }
  return text;
}

Disk single() {
  return new_disk({.directory = "/d", .image = "/d/r", .size_sectors = 2048});
}

/// One snapshot per name; files d1, d2...
Disk with(const std::vector<std::string>& uuids) {
  Disk disk = single();
  for (std::size_t i = 0; i < uuids.size(); ++i) {
    EXPECT_TRUE(plan_snapshot(disk, uuids[i]));
    add_snapshot(disk, uuids[i], "/d/d" + std::to_string(i + 1), false);
  }
  EXPECT_TRUE(validate(disk));
  return disk;
}

/// A{B, C -> top}.
Disk branched() {
  Disk disk = with({kA, kB});
  EXPECT_EQ(switch_top(disk, kA, "/d/d3"), "/d/d2");
  add_snapshot(disk, kC, "/d/d4", false);
  return disk;
}

/// A{B, top}.
Disk shared_parent() {
  Disk disk = with({kA, kB});
  switch_top(disk, kA, "/d/d3");
  return disk;
}

std::string why(const Error& error) {
  return std::to_string(static_cast<int>(error.code)) + " " + error.what;
}

TEST(TreeEdit, SnapshotsPileUp) {
  EXPECT_EQ(path_of(with({})), "TOP:r ");
  EXPECT_EQ(path_of(with({kA, kB})), "A:r B:d1 TOP:d2 ");
}

TEST(TreeEdit, SnapshotNamesAreUnique) {
  const Disk disk = with({kA});
  std::string upper = kA;
  for (char& c : upper)
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  EXPECT_EQ(why(plan_snapshot(disk, upper).error()), "38 The snapshot " + upper + " already exist");
  EXPECT_EQ(plan_snapshot(disk, kTop).error().code, ExitCode::Param);
  EXPECT_EQ(plan_snapshot(disk, kNone).error().code, ExitCode::Param);
}

TEST(TreeEdit, At126SnapshotsTheNextIsRefusedWhateverTheBranchesAre) {
  Disk disk = single();
  for (std::size_t i = 0; i < kMaxSnapshots; ++i) {
    const std::string uuid = generate_uuid();
    ASSERT_TRUE(plan_snapshot(disk, uuid)) << i;
    add_snapshot(disk, uuid, "/d/d" + std::to_string(i), false);
  }
  ASSERT_TRUE(validate(disk));
  const Status refused = plan_snapshot(disk, kA);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(
      why(refused.error())
          .starts_with(
              "38 Unable to create a snapshot. The maximum number of snapshots (126) has been reached"));
  // From a node further down there is room again: a side branch does not count.
  switch_top(disk, disk.shots.front().uuid, "/d/new");
  EXPECT_TRUE(plan_snapshot(disk, kA));
}

TEST(TreeEdit, OldFormatIsRefusedWhereItAlwaysWas) {
  Disk disk = with({kA});
  disk.top_uuid = kB;
  disk.images.back().uuid = kB;
  disk.shots.back().uuid = kB;
  ASSERT_TRUE(validate(disk));
  const std::string text = "38 Snapshot is in old format";
  EXPECT_EQ(why(plan_snapshot(disk, kC).error()), text);
  EXPECT_EQ(why(plan_switch(disk, kA).error()), text);
  EXPECT_EQ(why(plan_delete(disk, kA, false).error()), text);
}

TEST(TreeEdit, SwitchBranchesTheTree) {
  Disk disk = with({kA, kB});
  ASSERT_TRUE(plan_switch(disk, kA));
  EXPECT_EQ(switch_top(disk, kA, "/d/d3"), "/d/d2");
  EXPECT_TRUE(validate(disk));
  EXPECT_EQ(path_of(disk), "A:r TOP:d3 ");
  EXPECT_EQ(disk.children(kA), (std::vector<std::string>{kB, kTop}));
}

TEST(TreeEdit, SwitchRefusals) {
  Disk disk = with({kA});
  mark_temporary(disk, kA);
  EXPECT_EQ(why(plan_switch(disk, kTop).error()), "38 Nothing to do, already on " + kTop + " snapshot");
  EXPECT_EQ(why(plan_switch(disk, kB).error()), "38 Can't find snapshot by uuid " + kB);
  EXPECT_EQ(why(plan_switch(disk, kA).error()), "38 Snapshot " + kA + " is temporary");
}

TEST(TreeEdit, DeletePlans) {
  struct Row {
    Disk disk;
    std::string uuid;
    bool running;
    DeleteAction action;
  };
  Disk marked = branched();
  mark_temporary(marked, kA);
  const std::vector<Row> rows = {
      {with({kA, kB}), kA, true, DeleteAction::MergeChild},
      {with({kA, kB}), kB, true, DeleteAction::MergeChild},
      {with({kA, kB}), kTop, false, DeleteAction::RollBack},
      {branched(), kA, false, DeleteAction::MarkTemporary},
      {marked, kA, true, DeleteAction::StaysTemporary},
      {branched(), kB, true, DeleteAction::DropLeaf},
      {branched(), kTop, false, DeleteAction::RollBack},
      {shared_parent(), kTop, false, DeleteAction::Renew},
  };
  for (const Row& row : rows) {
    const auto plan = plan_delete(row.disk, row.uuid, row.running);
    ASSERT_TRUE(plan) << row.uuid << why(plan.error());
    EXPECT_EQ(plan->action, row.action) << row.uuid;
  }
  EXPECT_EQ(plan_delete(with({kA, kB}), kA, false)->child, kB);
}

TEST(TreeEdit, DeleteRefusals) {
  EXPECT_EQ(why(plan_delete(with({kA}), kB, false).error()), "43 Can't find snapshot by uuid " + kB);
  EXPECT_EQ(why(plan_delete(with({kA}), kTop, true).error()), "38 Unable to delete active snapshot " + kTop);
  std::string upper = kTop;
  for (char& c : upper)
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  EXPECT_EQ(plan_delete(with({kA}), upper, true).error().code, ExitCode::Param)
      << "case does not get around it";
  EXPECT_EQ(why(plan_delete(single(), kTop, false).error()), "38 Unable to delete base image");
  Disk disk = with({kA});
  mark_temporary(disk, kA);
  EXPECT_EQ(why(plan_delete(disk, kTop, false).error()),
            "38 Unable to delete top delta, parent snapshot is temporary");
}

TEST(TreeEdit, RollBackMakesTheParentTheTop) {
  Disk disk = with({kA, kB});
  EXPECT_EQ(roll_back(disk), "/d/d2");
  EXPECT_TRUE(validate(disk));
  EXPECT_EQ(path_of(disk), "A:r TOP:d1 ");
}

TEST(TreeEdit, ATopWithChildrenIsNeverMergedInto) {
  // As the original left it after rolling back to a node with other children.
  Disk disk = shared_parent();
  roll_back(disk);
  ASSERT_TRUE(validate(disk));
  ASSERT_EQ(disk.children(kTop), std::vector<std::string>{kB});
  EXPECT_EQ(plan_delete(disk, kTop, false).error().code, ExitCode::Param);
  EXPECT_EQ(why(plan_merge_pair(disk, kB).error()),
            "38 Can't merge to snapshot " + kTop + ": it is the current state");
  add_snapshot(disk, kC, "/d/d4", false);
  EXPECT_EQ(path_of(disk), "C:r TOP:d4 ");
  EXPECT_EQ(disk.children(kC).size(), 2u) << "a snapshot makes it right again";
}

TEST(TreeEdit, MergeKeepsTheUpperNameAndTheLowerFile) {
  Disk disk = with({kA, kB, kC});
  auto plan = plan_merge_pair(disk, kTop);
  ASSERT_TRUE(plan);
  EXPECT_EQ(files_of(disk, *plan), (std::vector<std::string>{"/d/d3", "/d/d2"}));
  EXPECT_EQ(merge_nodes(disk, *plan), std::vector<std::string>{"/d/d3"});
  EXPECT_EQ(path_of(disk), "A:r B:d1 TOP:d2 ");
  EXPECT_TRUE(validate(disk));

  disk = with({kA, kB, kC});
  EXPECT_EQ(merge_nodes(disk, *plan_merge_pair(disk, kB)), std::vector<std::string>{"/d/d1"});
  EXPECT_EQ(path_of(disk), "B:r C:d2 TOP:d3 ");
  EXPECT_EQ(disk.first_image().file, "/d/r");

  disk = with({kA, kB, kC});
  EXPECT_EQ(merge_nodes(disk, *plan_merge_range(disk, kC, kA)), (std::vector<std::string>{"/d/d2", "/d/d1"}));
  EXPECT_EQ(path_of(disk), "C:r TOP:d3 ");

  disk = with({kA, kB, kC});
  EXPECT_EQ(merge_nodes(disk, *plan_merge_all(disk)), (std::vector<std::string>{"/d/d3", "/d/d2", "/d/d1"}));
  EXPECT_EQ(path_of(disk), "TOP:r ");

  disk = with({kA, kB, kC});
  EXPECT_EQ(merge_nodes(disk, *plan_merge_all(disk), "/d/n"),
            (std::vector<std::string>{"/d/d3", "/d/d2", "/d/d1", "/d/r"}));
  EXPECT_EQ(path_of(disk), "TOP:n ");
  EXPECT_TRUE(validate(disk));
}

TEST(TreeEdit, MergeTakesTheFlagAndTheChildrenOfTheUpperNode) {
  Disk disk = branched();  // A{B, C -> top}
  add_snapshot(disk, kD, "/d/d5", false);
  switch_top(disk, kC, "/d/d6");  // A{B, C{D, top}}
  mark_temporary(disk, kC);
  drop_leaf(disk, kB);
  const auto plan = plan_merge_pair(disk, kC);
  ASSERT_TRUE(plan) << why(plan.error());
  EXPECT_EQ(merge_nodes(disk, *plan), std::vector<std::string>{"/d/d3"});
  EXPECT_TRUE(validate(disk));
  EXPECT_EQ(path_of(disk), "C:r* TOP:d6 ");
  EXPECT_EQ(disk.children(kC), (std::vector<std::string>{kD, kTop}));
}

TEST(TreeEdit, MergeRefusals) {
  const Disk disk = with({kA, kB, kC});
  const std::string no_parent = "38 Can't find parent of uuid ";
  EXPECT_EQ(why(plan_merge_pair(disk, kA).error()), no_parent + kA + " (is that a base image?)");
  EXPECT_EQ(why(plan_merge_pair(disk, kD).error()), no_parent + kD + " (is that a base image?)");
  EXPECT_EQ(why(plan_merge_pair(single(), kTop).error()), no_parent + kTop + " (is that a base image?)");
  EXPECT_EQ(why(plan_merge_range(disk, kA, kC).error()),
            "38 Can't find " + kC + " to be an ancestor of " + kA);
  EXPECT_EQ(why(plan_merge_range(disk, kD, kA).error()),
            "38 Can't find " + kA + " to be an ancestor of " + kD);
  EXPECT_EQ(why(plan_merge_range(disk, kB, kB).error()),
            "38 Can't find " + kB + " to be an ancestor of " + kB);
  EXPECT_EQ(why(plan_merge_all(single()).error()), "38 Can't find " + kTop + " to be an ancestor of " + kTop);
  EXPECT_EQ(why(plan_merge_pair(branched(), kC).error()),
            "38 Can't merge to snapshot " + kA + ": it has 2 children");
  EXPECT_EQ(why(plan_merge_all(branched()).error()), "38 Unable to merge to " + kA + ": it has 2 children");
}

TEST(TreeEdit, SurplusTemporariesHaveAtMostOneChild) {
  Disk disk = branched();
  mark_temporary(disk, kA);
  EXPECT_TRUE(surplus_temporaries(disk).empty());
  mark_temporary(disk, kB);
  EXPECT_EQ(surplus_temporaries(disk), std::vector<std::string>{kB});
  drop_leaf(disk, kB);
  EXPECT_EQ(surplus_temporaries(disk), std::vector<std::string>{kA});
}

TEST(TreeEdit, NewDeltasAreNamedAfterTheFirstImage) {
  const Disk disk = with({kA});
  const std::string name = new_delta_file(disk);
  EXPECT_TRUE(name.starts_with("/d/r.{"));
  EXPECT_TRUE(is_uuid(name.substr(5)));
  EXPECT_NE(name, new_delta_file(disk));
}

/// Whatever is done in whatever order, the result is a consistent tree, and every file that goes is named no
/// more.
TEST(TreeEdit, RandomEditsKeepTheTreeConsistent) {
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", static_cast<int>(seed));
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  Disk disk = single();
  for (int step = 0; step < 3000; ++step) {
    const auto any = [&] { return disk.shots[random() % disk.shots.size()].uuid; };
    std::vector<std::string> gone;
    switch (random() % 4) {
      case 0: {
        const std::string uuid = generate_uuid();
        if (plan_snapshot(disk, uuid)) add_snapshot(disk, uuid, new_delta_file(disk), random() % 4 == 0);
        break;
      }
      case 1: {
        const std::string uuid = any();
        if (plan_switch(disk, uuid)) gone.push_back(switch_top(disk, uuid, new_delta_file(disk)));
        break;
      }
      case 2: {
        const auto plan = plan_delete(disk, any(), false);
        if (!plan) break;
        if (plan->action == DeleteAction::DropLeaf) gone.push_back(drop_leaf(disk, plan->uuid));
        if (plan->action == DeleteAction::RollBack) gone.push_back(roll_back(disk));
        if (plan->action == DeleteAction::Renew)
          gone.push_back(switch_top(disk, plan->child, new_delta_file(disk)));
        if (plan->action == DeleteAction::MarkTemporary) mark_temporary(disk, plan->uuid);
        if (plan->action == DeleteAction::MergeChild)
          gone = merge_nodes(disk, *plan_merge_pair(disk, plan->child));
        break;
      }
      default: {
        const auto plan = plan_merge_range(disk, any(), any());
        if (plan) gone = merge_nodes(disk, *plan);
        break;
      }
    }
    ASSERT_TRUE(disk.children(kTop).empty()) << step;
    const Status valid = validate(disk);
    ASSERT_TRUE(valid) << step << ": " << valid.error().what;
    for (const std::string& file : gone) {
      for (const Image& image : disk.images)
        ASSERT_NE(image.file, file) << step;
    }
  }
}

}  // namespace
}  // namespace ploop::descriptor
