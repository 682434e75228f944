// Snapshots on stopped disks beyond the acceptance table: exact messages, wrong uses, interrupted operations,
// long random sequences against the model.
#include <signal.h>

#include <random>

#include "io/posix_file.hpp"
#include "snapshot_disk.hpp"

namespace ploop::test {
namespace {

TEST(Snapshot, TranscriptIsTheHistoricalOne) {
  SnapshotDisk disk;
  const ProcessResult result = disk.command("snapshot A");
  const std::string dir = disk.box().dir().path();
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out, "Opening delta " + dir + "/root.hdd\nAdding snapshot " + kTopNode + "\nStoring " +
                            dir + "/DiskDescriptor.xml.tmp\nCreating delta " + disk.top_file() +
                            " bs=2048 size=204800 sectors v2\nploop snapshot " + node("A") +
                            " has been successfully created\n");
}

TEST(Snapshot, MergeAndDeleteTranscripts) {
  SnapshotDisk disk;
  const std::string dir = disk.box().dir().path();
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  const std::string top = disk.top_file();
  EXPECT_EQ(disk.command("merge").out, "Offline snapshot merge " + kTopNode + " -> " + node("A") +
                                           "\nMerging image: " + top.substr(dir.size() + 1) +
                                           " -> root.hdd\nStoring " + dir +
                                           "/DiskDescriptor.xml.tmp\nRemoving " + top +
                                           "\nploop snapshot has been successfully merged\n");
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  ASSERT_EQ(disk.command("snapshot B").status, 0);
  ASSERT_EQ(disk.command("switch A").status, 0);
  const std::string leaf = disk.disk().find_image(node("B"))->file;
  EXPECT_EQ(disk.command("delete B").out, "del snapshot " + node("B") + "\nStoring " + disk.xml() +
                                              "\nRemoving " + leaf + "\nploop snapshot " + node("B") +
                                              " has been successfully deleted\n");
}

TEST(Snapshot, NamesMayComeWithoutBracesAndInCapitals) {
  const SnapshotDisk disk;
  EXPECT_EQ(disk.box()
                .ploop({"snapshot", "-u", "AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA", "DiskDescriptor.xml"})
                .status,
            0);
  EXPECT_EQ(disk.box().ploop({"snapshot", "-u", node("A"), "DiskDescriptor.xml"}).status, 38);
  EXPECT_EQ(disk.box().ploop({"snapshot-delete", "-u", node("A"), "DiskDescriptor.xml"}).status, 0);
}

TEST(Snapshot, WrongUsesSayWhatIsWrongAndChangeNothing) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  write_text(disk.box() / "taken", "x");
  const std::string before = disk.state();
  struct Use {
    std::vector<std::string> args;
    int status;
    const char* text;
  };
  const std::string xml = "DiskDescriptor.xml";
  const std::vector<Use> uses = {
      {{"snapshot"}, 38, "The descriptor is missing"},
      {{"snapshot", "-u", "nonsense", xml}, 38, "Incorrect uuid specified: nonsense"},
      {{"snapshot", "missing.xml"}, 39, "Can't resolve missing.xml"},
      {{"snapshot", "-u", kTopNode, xml}, 38, "already exist"},
      {{"snapshot-switch", xml}, 38, "-u UUID"},
      {{"snapshot-switch", "-u", node("X"), xml}, 38, "Can't find snapshot by uuid"},
      {{"snapshot-switch", "-D", "-u", node("A"), xml}, 38, "invalid option -- 'D'"},
      {{"snapshot-delete", xml}, 38, "-u UUID"},
      {{"snapshot-delete", "-u", node("X"), xml}, 43, "Can't find snapshot by uuid"},
      {{"snapshot-merge", "-A", "-u", node("A"), xml}, 38, "Options -u and -A can't be used together"},
      {{"snapshot-merge", "-U", node("A"), xml}, 38, "-U needs -u"},
      {{"snapshot-merge", "-n", "taken", xml}, 38, "Can't merge to new image taken: File exists"},
      {{"snapshot-merge", "-n", "/tmp/elsewhere-of-ploop-test", xml}, 39, "is not below"},
      {{"snapshot-merge", "-u", node("A"), xml}, 38, "is that a base image?"},
      {{"tsnapshot", "-u", node("B"), xml}, 38, "COMPONENT"},
      {{"tsnapshot", "-c", "backup", xml}, 38, "-u UUID"},
      {{"tsnapshot", "-u", node("B"), "-c", std::string(63, 'x'), xml}, 38, "Component name too long"},
  };
  for (const Use& use : uses) {
    const ProcessResult result = disk.box().ploop(use.args);
    EXPECT_EQ(result.status, use.status) << use.text << ": " << result.err;
    EXPECT_NE(result.err.find(use.text), std::string::npos) << result.err;
    EXPECT_EQ(disk.state(), before) << use.text;
  }
  disk.verify("after wrong uses");
}

TEST(Snapshot, MergesIntoARawBaseAndNeverOutOfIt) {
  SnapshotDisk disk({"-s", "4m", "-t", "none", "-f", "raw", "-b", "64"});
  for (const char* line : {"snapshot A", "snapshot B"}) {
    ASSERT_EQ(disk.command(line).status, 0);
    put_cluster(disk.top_file(), 3, static_cast<std::uint8_t>(line[9]));
  }
  EXPECT_EQ(disk.box().ploop({"snapshot-merge", "-A", "-n", "n", "DiskDescriptor.xml"}).status, 4);
  ASSERT_EQ(disk.box().ploop({"snapshot-merge", "-A", "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(disk.disk().images.size(), 1u);
  EXPECT_EQ(content_of(disk.disk(), kTopNode), (Content{{3, 'B'}}));
}

TEST(Snapshot, AnImageThatAnotherProgramHoldsIsLeftAlone) {
  SnapshotDisk disk;
  ASSERT_EQ(disk.command("snapshot A").status, 0);
  const auto file = io::PosixFile::open(disk.box() / "root.hdd", {});
  ASSERT_TRUE(file);
  ASSERT_TRUE(*(*file)->try_lock(io::LockKind::Shared));
  const std::string before = disk.state();
  EXPECT_EQ(disk.command("merge").status, 4);
  EXPECT_EQ(disk.state(), before);
  EXPECT_FALSE(exists(disk.box() / ".ploop-intent"));
}

/// Killed at a random moment, the command repeated as a user would: done exactly once, nothing lost, nothing
/// left.
TEST(Snapshot, KilledAtAnyMomentTheRepeatedCommandIsDoneOnce) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const std::string line :
       {"snapshot D", "delete A", "merge", "merge -u C -U A", "merge -A", "merge -A -n n", "switch A"}) {
    for (int round = 0; round < 4; ++round) {
      SnapshotDisk disk;
      for (const char* name : {"snapshot A", "snapshot B", "snapshot C"}) {
        ASSERT_EQ(disk.command(name).status, 0);
        disk.write();
      }
      ProcessOptions kill;
      kill.signal = SIGKILL;
      kill.signal_after = std::chrono::milliseconds(random() % 60);
      static_cast<void>(disk.command(line, kill));
      const ProcessResult again = disk.command(line);
      // A snapshot that was complete before the kill is there already.
      EXPECT_TRUE(again.status == 0 || (line == "snapshot D" && again.status == 38) ||
                  ((line.starts_with("delete") || line.starts_with("merge -")) &&
                   (again.status == 43 || again.status == 38)))
          << line << ": " << again.err;
      disk.settle();
      disk.verify(line);
      EXPECT_EQ(disk.box().ploop({"check", "DiskDescriptor.xml"}).status, 0) << line;
      const bool all = line.starts_with("merge -A");
      EXPECT_TRUE(!all || disk.disk().images.size() == 1) << line;
      const bool goes = line == "delete A" || line == "merge -u C -U A";
      EXPECT_TRUE(!goes || disk.disk().find_shot(node("A")) == nullptr) << line;
    }
  }
}

/// The same against a model, for long.
TEST(Snapshot, RandomSequencesKeepEveryNode) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  SnapshotDisk disk({"-s", "16m", "-t", "none", "-b", "64"});
  const std::vector<std::string> names = {"A", "B", "C", "D", "E", "F"};
  const auto any = [&] { return names[random() % names.size()]; };
  int done = 0;
  for (int step = 0; step < 150; ++step) {
    std::string line;
    switch (random() % 7) {
      case 0:
      case 1:
      case 2:
        line = "snapshot " + any();
        break;
      case 3:
        line = "switch " + any();
        break;
      case 4:
        line = "delete " + (random() % 6 == 0 ? "TOP" : any());
        break;
      case 5:
        line = "merge -u " + any();
        break;
      default:
        line = "merge -u " + any() + " -U " + any();
        break;
    }
    const std::string before = disk.state();
    const ProcessResult result = disk.command(line);
    ASSERT_TRUE(result.status == 0 || result.status == 38 || result.status == 43)
        << line << ": " << result.err;
    ASSERT_TRUE(result.status == 0 || disk.state() == before) << line;
    disk.verify(line);
    if (testing::Test::HasFailure()) return;
    if (result.status == 0) ++done;
    disk.write();
  }
  EXPECT_GT(done, 30);
}

}  // namespace
}  // namespace ploop::test
