// What clients parse and compare while a device runs: exact lines, statuses, files. Needs root, /dev/fuse and
// a loop device.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

namespace stdfs = std::filesystem;
const std::string kTop = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const std::string kNone = "{00000000-0000-0000-0000-000000000000}";
const std::string kA = "{aaaaaaaa-1111-1111-1111-111111111111}";

class Device : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "needs /dev/fuse";
    if (::access("/dev/loop-control", R_OK | W_OK) != 0) GTEST_SKIP() << "needs loop devices";
    stdfs::create_directory(box_ / "mnt");
    stdfs::create_directory(box_ / "dev");
  }
  /// Whatever a failed test left, most recent mount first.
  void TearDown() override {
    for (const char* name : {"mnt", "bind"})
      ::umount2((box_ / name).c_str(), MNT_DETACH);
    const std::string list = run("list").out;
    std::smatch found;
    for (std::string rest = list; std::regex_search(rest, found, std::regex("(^|\n)(ploop\\d+) "));
         rest = found.suffix()) {
      run("umount", "-d", device(found[2].str().substr(5)));
    }
  }
  template <typename... Words>
  ProcessResult run(Words... words) {
    return box_.ploop({std::string(words)...});
  }
  [[nodiscard]] std::string device(const std::string& number = "0") const {
    return box_ / ("dev/ploop" + number);
  }
  void make_disk() { ASSERT_EQ(run("init", "-s", "64m", "root.hdd").status, 0); }

  Sandbox box_;
  const std::string xml_ = "DiskDescriptor.xml";
};

TEST_F(Device, MountAndUmountPrintWhatClientsParse) {
  make_disk();
  const ProcessResult mounted = run("-v0", "mount", "-m", "mnt", xml_);
  EXPECT_EQ(mounted.status, 0);
  EXPECT_EQ(mounted.err, "");
  EXPECT_EQ(mounted.out, "Adding delta dev=" + device() + " img=" + (box_ / "root.hdd") + " (rw)\nMounting " +
                             device() + "p1 at mnt fstype=ext4 data='' \n");
  EXPECT_EQ(run("list").out, "ploop0       " + (box_ / "root.hdd") + "  \n");
  EXPECT_EQ(run("list", "-a").out, "ploop0       " + (box_ / "root.hdd") + " " + (box_ / "mnt") + " \n");
  EXPECT_EQ(run("-v0", "-v-1", "info", "-d", xml_).out,
            "device:\t\t" + device() + "\npartition:\t" + device() + "p1\n");
  EXPECT_EQ(run("info", "-s", xml_).out, "size:\t\t131072\nblocksize:\t2048\nfmt_version:\t2\n");
  EXPECT_TRUE(std::regex_match(
      run("info", xml_).out,
      std::regex(
          "   resource           Size           Used\n  1k-blocks +\\d+ +\\d+\n     inodes +\\d+ +\\d+\n")));
  const ProcessResult gone = run("umount", xml_);
  EXPECT_EQ(gone.status, 0);
  EXPECT_EQ(gone.out,
            "Unmounting file system at " + (box_ / "mnt") + "\nUnmounting device " + device() + "\n");
  EXPECT_EQ(gone.err, "");
  EXPECT_EQ(run("umount", xml_).status, 40);
  EXPECT_TRUE(exists(box_ / ".statfs"));
  EXPECT_EQ(run("info", "-d", xml_).out, "device:\t\t\n");
  EXPECT_FALSE(exists(device())) << "the nodes went with the device";
}

TEST_F(Device, ANameWithControlCharactersStaysOnItsLine) {
  const std::string odd = "odd\nploop7\tname";
  stdfs::create_directory(box_ / odd);
  ASSERT_EQ(run("init", "-s", "64m", odd + "/root.hdd").status, 0);
  ASSERT_EQ(run("mount", odd + "/" + xml_).status, 0);
  EXPECT_EQ(run("list").out, "ploop0       " + (box_ / "odd\\012ploop7\\011name/root.hdd") + "  \n");
  EXPECT_EQ(run("umount", odd + "/" + xml_).status, 0);
}

TEST_F(Device, IsStoppedStartedAndCleared) {
  make_disk();
  ASSERT_EQ(run("mount", xml_).status, 0);
  EXPECT_EQ(run("getdev").out, "Next unused minor: 16\n");
  for (const auto& refused :
       {run("start", "-d", device()), run("clear", "-d", device()), run("rm", "-d", device(), "-l", "0")}) {
    EXPECT_EQ(refused.status, 3);
    EXPECT_NE(refused.err.find("is running"), std::string::npos) << refused.err;
  }
  EXPECT_EQ(run("stop", "-d", device()).status, 0);
  EXPECT_EQ(run("list").out, "");
  EXPECT_EQ(run("getdev").out, "Next unused minor: 0\n");
  EXPECT_EQ(run("check", "-f", "root.hdd").status, 0) << "a stopped image is closed";
  EXPECT_EQ(run("start", "-d", device()).status, 0);
  EXPECT_EQ(run("list").out, "ploop0       " + (box_ / "root.hdd") + "  \n");
  EXPECT_EQ(run("info", "-d", xml_).out, "device:\t\t" + device() + "\npartition:\t" + device() + "p1\n");
  EXPECT_EQ(run("stop", "-d", device()).status, 0);
  EXPECT_EQ(run("clear", "-d", device()).status, 0);
  EXPECT_EQ(run("clear", "-d", device()).status, 0);
  EXPECT_EQ(run("start", "-d", device()).status, 2);
  EXPECT_EQ(run("stop", "-d", device()).status, 2);
}

TEST_F(Device, StopTriesOnceAndForgetsWhenItFails) {
  make_disk();
  ASSERT_EQ(run("mount", "-m", "mnt", xml_).status, 0);
  EXPECT_EQ(run("stop", "-d", device()).status, 3);
  EXPECT_FALSE(exists(box_ / "run/stopped/ploop0"));
  EXPECT_EQ(run("umount", xml_).status, 0);
}

TEST_F(Device, AStoppedDeviceWhoseDiskHasAnotherTopDoesNotStart) {
  make_disk();
  ASSERT_EQ(run("mount", xml_).status, 0);
  ASSERT_EQ(run("stop", "-d", device()).status, 0);
  stdfs::rename(box_ / "root.hdd", box_ / "base.hdd");
  stdfs::remove(box_ / xml_);
  ASSERT_EQ(run("restore-descriptor", ".", "base.hdd").status, 0);
  const std::string before = slurp(box_ / "base.hdd");
  EXPECT_EQ(run("start", "-d", device()).status, 3);
  EXPECT_EQ(slurp(box_ / "base.hdd"), before);
  EXPECT_EQ(run("list").out, "");
  EXPECT_EQ(run("clear", "-d", device()).status, 0);
}

TEST_F(Device, LevelsGoTopDownAndWhatRemainsIsReadOnly) {
  for (const char* name : {"base.hdd", "top.hdd"})
    ImageBuilder(131072, 2048).write(box_ / name);
  ASSERT_EQ(run("mount", "base.hdd", "top.hdd").status, 0);
  ASSERT_EQ(run("stop", "-d", device()).status, 0);
  EXPECT_EQ(run("delete", "-d", device(), "-l", "0").status, 3);
  EXPECT_EQ(run("delete", "-d", device(), "-l", "1").status, 0);
  const ProcessResult started = run("start", "-d", device());
  EXPECT_EQ(started.status, 0);
  EXPECT_NE(started.out.find("Adding delta dev=" + device() + " img=" + (box_ / "base.hdd") + " (ro)\n"),
            std::string::npos);
  EXPECT_EQ(started.out.find("top.hdd"), std::string::npos);
  ASSERT_EQ(run("stop", "-d", device()).status, 0);
  EXPECT_EQ(run("rm", "-d", device(), "-l", "0").status, 0);
  EXPECT_EQ(run("start", "-d", device()).status, 2);
}

TEST_F(Device, CountersAreShownClearedAndLoaded) {
  make_disk();
  ASSERT_EQ(run("mount", xml_).status, 0);
  const ProcessResult shown = run("stat", "-d", device());
  EXPECT_EQ(shown.status, 0);
  EXPECT_TRUE(std::regex_search(shown.out, std::regex("^reads {15}\t[1-9]\\d*\n"))) << shown.out;
  EXPECT_EQ(run("stat", "-d", device(), "-c").status, 0);
  EXPECT_TRUE(std::regex_search(run("stat", "-d", device()).out, std::regex("^reads {15}\t0\n")));
  ProcessOptions input;
  input.stdin_file = box_ / "counters";
  write_text(input.stdin_file, "reads\t4711\nnonsense 1\n");
  const ProcessResult loaded = box_.ploop({"stat", "-l", "-d", device()}, input);
  EXPECT_EQ(loaded.status, 0);
  EXPECT_EQ(loaded.err, "Variable \"nonsense\" is missing\n");
  EXPECT_TRUE(std::regex_search(run("stat", "-d", device()).out, std::regex("^reads {15}\t4711\n")));
  ASSERT_EQ(run("umount", xml_).status, 0);
  EXPECT_EQ(run("stat", "-d", device()).status, 9);
}

TEST_F(Device, JsonTellsOfTheRunningDevice) {
  make_disk();
  ASSERT_EQ(run("mount", "-m", "mnt", xml_).status, 0);
  const auto list = nlohmann::json::parse(run("list", "--json").out);
  ASSERT_EQ(list["devices"].size(), 1u);
  EXPECT_EQ(list["devices"][0]["device"], device());
  EXPECT_EQ(list["devices"][0]["images"][0]["image"], box_ / "root.hdd");
  EXPECT_EQ(list["devices"][0]["mount_points"], nlohmann::json::array({box_ / "mnt"}));
  EXPECT_EQ(list["devices"][0]["size_bytes"], 64 << 20);
  auto info = nlohmann::json::parse(run("info", "--json", xml_).out);
  EXPECT_EQ(info["device"], device());
  EXPECT_EQ(info["partition"], device() + "p1");
  EXPECT_TRUE(info["survives_crash"].is_boolean());
  EXPECT_GT(info["file_system"]["used_bytes"], 0);
  ASSERT_EQ(::umount((box_ / "mnt").c_str()), 0);
  info = nlohmann::json::parse(run("info", "--json", xml_).out);
  EXPECT_TRUE(info["file_system"].is_null()) << "attached, not mounted";
}

TEST_F(Device, UsageOfAStoppedDiskIsThatOfTheMountedOne) {
  make_disk();
  ASSERT_EQ(run("mount", "-m", "mnt", xml_).status, 0);
  write_text(box_ / "mnt/data", std::string(5 << 20, 'x'));
  ASSERT_EQ(run("umount", xml_).status, 0);
  const std::string cached = run("info", xml_).out;
  stdfs::remove(box_ / ".statfs");
  const std::string image = slurp(box_ / "root.hdd");
  const ProcessResult looked = run("info", xml_);
  EXPECT_EQ(looked.out, cached);
  EXPECT_EQ(looked.err, "");
  EXPECT_EQ(slurp(box_ / "root.hdd"), image) << "looking changes nothing";
  EXPECT_FALSE(exists(box_ / "root.hdd.mnt"));
}

TEST_F(Device, RunningDiskRefusesASecondUser) {
  make_disk();
  ASSERT_EQ(run("mount", xml_).status, 0);
  const std::string busy = "Image " + (box_ / "root.hdd") + " already used by device " + device() + "\n";
  for (const auto& again :
       {run("mount", xml_), run("mount", "root.hdd"), run("mount", "-r", "-c", "other", xml_)}) {
    EXPECT_EQ(again.status, 21);
    EXPECT_EQ(again.err, busy);
  }
  for (const auto& check :
       {run("check", xml_), run("check", "-F", "root.hdd"), run("check", "-f", "-r", "root.hdd")}) {
    EXPECT_EQ(check.status, 37);
    EXPECT_EQ(check.err, "Can't check, in use by device: " + device() + "\n");
  }
  EXPECT_EQ(run("init", "-s", "64m", "root.hdd").status, 38);
  EXPECT_EQ(run("umount", "root.hdd").status, 0);
}

TEST_F(Device, BusyFileSystemStaysAndItsUserIsNamed) {
  make_disk();
  ASSERT_EQ(run("mount", "-m", "mnt", xml_).status, 0);
  const int inside = ::open((box_ / "mnt").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(inside, 0);
  const ProcessResult busy = run("umount", xml_);
  ::close(inside);
  EXPECT_EQ(busy.status, 46);
  EXPECT_NE(busy.err.find("(" + std::to_string(::getpid()) + ")"), std::string::npos) << busy.err;
  EXPECT_EQ(run("list", "-a").out, "ploop0       " + (box_ / "root.hdd") + " " + (box_ / "mnt") + " \n");
  EXPECT_EQ(run("umount", "-m", "mnt/").status, 0);
}

TEST_F(Device, UmountFindsTheDeviceByItsFirstOrAnyMount) {
  make_disk();
  stdfs::create_directory(box_ / "bind");
  ASSERT_EQ(run("mount", "-m", "mnt", xml_).status, 0);
  ASSERT_EQ(::mount((box_ / "mnt").c_str(), (box_ / "bind").c_str(), nullptr, MS_BIND, nullptr), 0);
  const ProcessResult first = run("umount", "-m", box_.dir().path() + "//mnt");
  EXPECT_EQ(first.status, 3);
  EXPECT_NE(first.err.find("still mounted at " + (box_ / "bind")), std::string::npos) << first.err;
  EXPECT_EQ(run("umount", "-m", "bind").status, 0);
}

TEST_F(Device, EverySpellingOfADeviceIsUnderstood) {
  make_disk();
  EXPECT_NE(run("mount", "-d", "/dev/ploop7", xml_).out.find("Adding delta dev=" + device("7") + " "),
            std::string::npos);
  EXPECT_EQ(run("umount", "-d", device("7") + "p1").status, 0);
  ASSERT_EQ(run("mount", "-d", box_ / "dev/mapper/ploop3", xml_).status, 0);
  EXPECT_EQ(run("umount", "-d", "ploop3").status, 0);
}

TEST_F(Device, SnapshotsAreMountedReadOnlyBesideEachOther) {
  make_disk();
  stdfs::rename(box_ / "root.hdd", box_ / "base.hdd");
  ImageBuilder(131072, 2048).write(box_ / "top.hdd");
  write_text(box_ / xml_, descriptor_text(131072, 2048, {{kA, kNone, "base.hdd"}, {kTop, kA, "top.hdd"}}));
  const ProcessResult top = run("-v0", "mount", xml_);
  EXPECT_EQ(top.out, "Adding delta dev=" + device() + " img=" + (box_ / "base.hdd") +
                         " (ro)\nAdding delta dev=" + device() + " img=" + (box_ / "top.hdd") + " (rw)\n");
  const ProcessResult old =
      run("-v0", "mount", "-r", "-u", kA.substr(1, 36), "-c", "/backup/name", "-m", "mnt", xml_);
  EXPECT_EQ(old.status, 0) << old.err;
  EXPECT_TRUE(
      old.out.starts_with("Adding delta dev=" + device("1") + " img=" + (box_ / "base.hdd") + " (ro)\n"))
      << old.out;
  EXPECT_EQ(run("list").out, "ploop0       " + (box_ / "base.hdd") + "  \nploop1       " +
                                 (box_ / "base.hdd") + "  /backup/name\n");
  EXPECT_EQ(run("info", "-d", xml_).out, "device:\t\t" + device() + "\npartition:\t" + device() + "p1\n");
  EXPECT_EQ(run("umount", "-c", "/backup/name", xml_).status, 0);
  EXPECT_EQ(run("umount", "-c", "/backup/name", xml_).status, 40);
  EXPECT_EQ(run("umount", xml_).status, 0);
}

TEST_F(Device, ListFormTakesTheBaseFirst) {
  make_disk();
  ImageBuilder(131072, 2048).write(box_ / "top.hdd");
  const std::string base = slurp(box_ / "root.hdd");
  const ProcessResult mounted = run("-v0", "mount", "-m", "mnt", "root.hdd", "top.hdd");
  ASSERT_EQ(mounted.status, 0) << mounted.err;
  EXPECT_TRUE(mounted.out.starts_with("Adding delta dev=" + device() + " img=" + (box_ / "root.hdd") +
                                      " (ro)\nAdding delta dev=" + device() + " img=" + (box_ / "top.hdd") +
                                      " (rw)\n"))
      << mounted.out;
  write_text(box_ / "mnt/data", std::string(1 << 20, 'x'));
  EXPECT_EQ(run("umount", "-m", "mnt").status, 0);
  EXPECT_EQ(slurp(box_ / "root.hdd"), base) << "lower deltas never change";
  EXPECT_EQ(run("check", "-f", "-c", "top.hdd").status, 0);
}

TEST_F(Device, CrashIsRepairedAtTheNextMountButNotByAReadOnlyOne) {
  make_disk();
  // A crash as the image sees it: the mark is set and nobody holds the file.
  std::string bytes = slurp(box_ / "root.hdd");
  bytes.replace(44, 4, std::string("\x59\x6e\x6f\x74", 4));
  write_text(box_ / "root.hdd", bytes);
  ASSERT_EQ(run("mount", "root.hdd").status, 37) << "the list form refuses";
  const ProcessResult read_only = run("mount", "-r", "-m", "mnt", xml_);
  EXPECT_EQ(read_only.status, 0) << read_only.err;
  EXPECT_EQ(run("umount", xml_).status, 0);
  EXPECT_EQ(slurp(box_ / "root.hdd"), bytes) << "-r changes nothing";
  EXPECT_EQ(run("mount", xml_).status, 0);
  EXPECT_EQ(run("umount", xml_).status, 0);
  EXPECT_EQ(run("check", "root.hdd").status, 0);
}

TEST_F(Device, LowerImageThatACrashMarkedIsRepairedWithTheTop) {
  for (const char* name : {"base.hdd", "top.hdd"}) {
    ImageBuilder image(131072, 2048);
    image.allocate(1).allocate(2);
    image.header.in_use = format::kInUseMark;
    image.file_clusters += 1;
    image.write(box_ / name);
  }
  write_text(box_ / xml_, descriptor_text(131072, 2048, {{kA, kNone, "base.hdd"}, {kTop, kA, "top.hdd"}}));
  const ProcessResult mounted = run("mount", xml_);
  EXPECT_EQ(mounted.status, 0) << mounted.err;
  EXPECT_EQ(run("umount", xml_).status, 0);
  EXPECT_EQ(run("check", "base.hdd").status, 0);
  EXPECT_EQ(run("check", "top.hdd").status, 0);
}

TEST_F(Device, ClonesByHardLinkRunSideBySide) {
  make_disk();
  stdfs::rename(box_ / "root.hdd", box_ / "base.hdd");
  for (const char* clone : {"a", "b"}) {
    stdfs::create_directory(box_ / clone);
    stdfs::create_hard_link(box_ / "base.hdd", box_ / (std::string(clone) + "/base.hdd"));
    ImageBuilder(131072, 2048).write(box_ / (std::string(clone) + "/top.hdd"));
    write_text(box_ / (std::string(clone) + "/" + xml_),
               descriptor_text(131072, 2048, {{kA, kNone, "base.hdd"}, {kTop, kA, "top.hdd"}}));
  }
  EXPECT_EQ(run("mount", "a/" + xml_).status, 0);
  EXPECT_EQ(run("info", "-d", "b/" + xml_).out, "device:\t\t\n")
      << "a clone is another disk, whatever it shares";
  EXPECT_EQ(run("mount", "b/" + xml_).status, 0);
  EXPECT_EQ(run("umount", "b/" + xml_).status, 0);
  EXPECT_EQ(run("umount", "b/" + xml_).status, 40);
  EXPECT_EQ(run("umount", "a/" + xml_).status, 0);
}

TEST_F(Device, InterruptedInitLeavesNothing) {
  for (const int after : {20, 60, 120, 200}) {
    stdfs::create_directory(box_ / "d");
    const ProcessResult result =
        box_.ploop({"init", "-s", "2g", "-n", "d/root.hdd"},
                   {.signal = SIGTERM, .signal_after = std::chrono::milliseconds(after)});
    EXPECT_EQ(run("list").out, "") << after;
    if (result.status == 0) {
      EXPECT_TRUE(exists(box_ / "d/DiskDescriptor.xml")) << "was faster";
    } else {
      // On a busy machine the signal may come before the program has begun.
      EXPECT_TRUE(result.out.empty() || result.out.find("Cancelling...\n") != std::string::npos)
          << result.out;
      EXPECT_TRUE(stdfs::is_empty(box_ / "d")) << after;
    }
    stdfs::remove_all(box_ / "d");
  }
}

TEST_F(Device, FailedMountLeavesNothingAttached) {
  ASSERT_EQ(run("init", "-s", "16m", "-t", "none", "root.hdd").status, 0);
  const ProcessResult result = run("mount", "-m", "mnt", xml_);
  EXPECT_EQ(result.status, 21);
  EXPECT_NE(result.err.find("no known file system"), std::string::npos) << result.err;
  EXPECT_EQ(run("list").out, "");
  EXPECT_EQ(run("check", "root.hdd").status, 0);
}

}  // namespace
}  // namespace ploop::test
