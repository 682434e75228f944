// What an interrupted operation leaves is finished or undone by the descriptor's word, and a note that can't
// be trusted stops everything before anything is touched.
#include "ops/recover.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "ops/live_chain.hpp"

namespace ploop::ops {
namespace {

namespace stdfs = std::filesystem;
const std::string kA = "{aaaaaaaa-1111-4111-8111-000000000001}";

class Recover : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (stdfs::canonical(stdfs::temp_directory_path()) / "ploop-recover-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name + "/disk";
    stdfs::create_directory(directory_);
    outside_ = name + "/outside";
    touch(outside_);
    descriptor::Disk disk = descriptor::new_disk({.directory = directory_,
                                                  .image = file("root.hdd"),
                                                  .size_sectors = 20480,
                                                  .cylinders = 20,
                                                  .heads = 16});
    touch(file("root.hdd"));
    ASSERT_TRUE(descriptor::store(disk, path()));
    set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
  }
  void TearDown() override {
    set_log_sink({});
    stdfs::remove_all(stdfs::path(directory_).parent_path());
  }
  static void touch(const std::string& name) { std::ofstream(name) << "x"; }
  [[nodiscard]] std::string file(const std::string& name) const { return directory_ + "/" + name; }
  [[nodiscard]] std::string path() const { return file("DiskDescriptor.xml"); }
  [[nodiscard]] bool logged(const std::string& line) const { return std::ranges::count(lines_, line) == 1; }
  /// Every file of the directory with its content.
  [[nodiscard]] std::map<std::string, std::string> state() const {
    std::map<std::string, std::string> all;
    for (const auto& entry : stdfs::recursive_directory_iterator(directory_)) {
      if (entry.path().extension() == ".lck") continue;
      all[entry.path()] = entry.is_regular_file() ? *read_file(entry.path(), 8 << 20) : "";
    }
    return all;
  }

  std::string directory_;
  std::string outside_;
  std::vector<std::string> lines_;
};

TEST_F(Recover, WithoutANoteADiskIsJustLoaded) {
  const auto before = state();
  const auto locked = open_disk(path());
  ASSERT_TRUE(locked) << locked.error().message();
  EXPECT_EQ(locked->disk.images.size(), 1u);
  EXPECT_EQ(state(), before);
  EXPECT_EQ(open_disk(path(), {.lock = {.timeout = std::chrono::milliseconds(0)}}).error().code,
            ExitCode::Lock);
}

TEST_F(Recover, WhatTheDescriptorDoesNotNameIsUndone) {
  const auto before = state();
  ASSERT_TRUE(write_intent(path(), {.op = "snapshot", .uuid = kA, .creates = {"root.hdd.{1}"}}));
  touch(file("root.hdd.{1}"));
  touch(staged_path(path()));
  ASSERT_TRUE(open_disk(path()));
  EXPECT_EQ(state(), before);
  EXPECT_TRUE(logged("The interrupted snapshot of " + kA + " was undone"));
}

TEST_F(Recover, WhatTheDescriptorNamesIsFinished) {
  auto disk = descriptor::load(path());
  ASSERT_TRUE(disk);
  disk->images.front().file = file("new.hdd");
  touch(file("new.hdd"));
  ASSERT_TRUE(write_intent(
      path(), {.op = "snapshot-switch", .uuid = kA, .creates = {"new.hdd"}, .consumes = {"root.hdd"}}));
  ASSERT_TRUE(stage_descriptor(*disk, path()));
  Rollback rollback;
  ASSERT_TRUE(commit_descriptor(path(), rollback));
  const auto locked = open_disk(path());
  ASSERT_TRUE(locked) << locked.error().message();
  EXPECT_TRUE(stdfs::exists(file("new.hdd")));
  EXPECT_FALSE(stdfs::exists(file("root.hdd")));
  EXPECT_FALSE(stdfs::exists(intent_path(path())));
  EXPECT_TRUE(logged("The interrupted snapshot-switch of " + kA + " was finished"));
}

TEST_F(Recover, ADeviceThatIsLateForADeadCommandCommitsNothing) {
  auto disk = descriptor::load(path());
  ASSERT_TRUE(disk);
  ASSERT_TRUE(stage_descriptor(*disk, path()));
  const auto late = commit_point(path());
  ASSERT_TRUE(late) << late.error().message();
  EXPECT_TRUE(stdfs::exists(late->from));
  touch(file("DiskDescriptor.xml.tmp.mine"));
  // The command is killed here; without a note, as with one.
  ASSERT_TRUE(open_disk(path()));
  EXPECT_FALSE(stdfs::exists(late->from));
  EXPECT_TRUE(stdfs::exists(file("DiskDescriptor.xml.tmp.mine"))) << "is not one of ours";
  ASSERT_TRUE(stage_descriptor(*disk, path()));
  const auto next = commit_point(path());
  ASSERT_TRUE(next);
  EXPECT_NE(next->from, late->from);
  EXPECT_FALSE(stdfs::exists(late->from)) << "the device would rename what the next command has staged";
  EXPECT_EQ(next->to, path());
}

TEST_F(Recover, RecoveringTwiceIsTheSame) {
  const auto before = state();
  const Intent intent{.op = "snapshot", .uuid = kA, .creates = {"root.hdd.{1}", "sub/x"}};
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(write_intent(path(), intent));
    ASSERT_TRUE(open_disk(path()));
    EXPECT_EQ(state(), before);
  }
}

TEST_F(Recover, NotesThatCannotBeTrustedRefuseWithoutTouchingAnything) {
  const std::string good =
      encode_intent({.op = "snapshot", .uuid = kA, .creates = {"root.hdd"}}, "DiskDescriptor.xml");
  std::string flipped = good;
  flipped[good.find("root.hdd")] = 'q';
  const std::vector<std::string> notes = {
      "",
      "{",
      "[]",
      std::string(1000, '['),
      good.substr(0, good.size() / 2),
      flipped,
      std::string(2 << 20, 'x'),
      encode_intent({.op = "unheard-of", .uuid = kA}, "DiskDescriptor.xml"),
      encode_intent({.op = "snapshot", .uuid = kA}, "Other.xml"),
      encode_intent({.op = "snapshot", .uuid = "nonsense"}, "DiskDescriptor.xml"),
      encode_intent({.op = "snapshot", .uuid = kA, .creates = {"../outside"}}, "DiskDescriptor.xml"),
      encode_intent({.op = "snapshot", .uuid = kA, .creates = {outside_}}, "DiskDescriptor.xml"),
      encode_intent({.op = "snapshot", .uuid = kA, .consumes = {"a//b"}}, "DiskDescriptor.xml"),
      encode_intent({.op = "snapshot", .uuid = kA, .consumes = {""}}, "DiskDescriptor.xml"),
  };
  for (const std::string& note : notes) {
    std::ofstream(intent_path(path()), std::ios::binary | std::ios::trunc) << note;
    const auto before = state();
    const auto opened = open_disk(path());
    ASSERT_FALSE(opened) << note.substr(0, 80);
    EXPECT_EQ(opened.error().code, ExitCode::Busy) << note.substr(0, 80);
    EXPECT_NE(opened.error().what.find(intent_path(path())), std::string::npos) << opened.error().what;
    EXPECT_EQ(opened.error().what.find('\n'), std::string::npos);
    EXPECT_EQ(state(), before) << note.substr(0, 80);
    EXPECT_TRUE(open_disk(path(), {.recovery = Recovery::BestEffort})) << "umount is always possible";
    EXPECT_EQ(state(), before) << note.substr(0, 80);
  }
  EXPECT_TRUE(stdfs::exists(outside_));
}

/// A merge that can't be finished now: its upper image is not there.
Intent stuck_merge() {
  return {.op = "snapshot-merge",
          .uuid = std::string(kTopUuid),
          .consumes = {"top.hdd"},
          .parameters = {{"lower", kA}, {kHalfDone, kA}, {kRequest, "all"}}};
}

TEST_F(Recover, AHalfDoneMergeStopsChangesButNotTheTop) {
  auto disk = descriptor::load(path());
  ASSERT_TRUE(disk);
  disk->images = {{kA, file("root.hdd"), {}}, {std::string(kTopUuid), file("top.hdd"), {}}};
  disk->shots = {{kA, std::string(kNoUuid), false, {}}, {std::string(kTopUuid), kA, false, {}}};
  ASSERT_TRUE(descriptor::store(*disk, path()));
  ASSERT_TRUE(write_intent(path(), stuck_merge()));
  const auto before = state();
  EXPECT_FALSE(open_disk(path()));
  const auto opened = open_disk(path(), {.recovery = Recovery::TopSuffices});
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_FALSE(opened->just_finished("snapshot-merge", "all"));
  EXPECT_TRUE(refuse_half_done(path(), kTopUuid));
  const Status lower = refuse_half_done(path(), kA);
  ASSERT_FALSE(lower);
  EXPECT_EQ(lower.error().code, ExitCode::Busy);
  EXPECT_EQ(state(), before);
}

TEST_F(Recover, AMergeThatTheDescriptorKnowsIsFinishedByRemovingItsFiles) {
  touch(file("top.hdd"));
  ASSERT_TRUE(write_intent(path(), stuck_merge()));
  const auto opened = open_disk(path());
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_FALSE(stdfs::exists(file("top.hdd")));
  EXPECT_TRUE(opened->just_finished("snapshot-merge", "all"))
      << "so that repeating the command does not merge again";
  EXPECT_FALSE(opened->just_finished("snapshot-merge", "merge top parent "));
  EXPECT_FALSE(opened->just_finished("snapshot-delete", "all"));
}

TEST_F(Recover, AMergeIntoANewImageIsFinishedOnceTheDescriptorNamesIt) {
  const Intent note{.op = "snapshot-merge",
                    .uuid = kA,
                    .creates = {"new.hdd", ".new.hdd.ploop-merge"},
                    .consumes = {"old.hdd"},
                    .parameters = {{"lower", kA}, {kRequest, "merge " + kA + " parent "}}};
  for (const bool named : {true, false}) {
    touch(file("new.hdd"));
    touch(file("old.hdd"));
    auto disk = descriptor::load(path());
    ASSERT_TRUE(disk);
    disk->images.front().file = file(named ? "new.hdd" : "root.hdd");
    ASSERT_TRUE(descriptor::store(*disk, path()));
    ASSERT_TRUE(write_intent(path(), note));
    const auto opened = open_disk(path());
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(opened->just_finished("snapshot-merge", "merge " + kA + " parent "), named)
        << "repeated, it would merge one snapshot more";
    EXPECT_EQ(stdfs::exists(file("new.hdd")), named);
  }
}

TEST_F(Recover, AnUnfinishedMergeDoesNotKnowWhoseFileHasTheNameOfItsImage) {
  touch(file("new.hdd"));
  touch(file(".new.hdd.ploop-merge"));
  ASSERT_TRUE(write_intent(path(), {.op = "snapshot-merge",
                                    .uuid = kA,
                                    .creates = {".new.hdd.ploop-merge"},
                                    .parameters = {{"lower", kA}}}));
  ASSERT_TRUE(open_disk(path()));
  EXPECT_TRUE(stdfs::exists(file("new.hdd")));
  EXPECT_FALSE(stdfs::exists(file(".new.hdd.ploop-merge")));
}

TEST_F(Recover, WhereNobodyKnowsWhetherAChangeTookPlaceNothingIsUndone) {
  bool undone = false;
  {
    Rollback rollback;
    rollback.add([&] { undone = true; });
    const Result<bool> no = took_place(path(), file("new.hdd"), true, rollback);
    ASSERT_TRUE(no) << no.error().message();
    EXPECT_FALSE(*no);
  }
  EXPECT_TRUE(undone) << "the error is the last word";
  undone = false;
  {
    Rollback rollback;
    rollback.add([&] { undone = true; });
    stdfs::remove(path());
    const Result<bool> unknown = took_place(path(), file("new.hdd"), true, rollback);
    ASSERT_FALSE(unknown);
    EXPECT_NE(unknown.error().message().find("its next command goes on"), std::string::npos);
  }
  EXPECT_FALSE(undone);
}

TEST_F(Recover, ANoteThatIsNoFileIsRefused) {
  stdfs::create_symlink(outside_, intent_path(path()));
  EXPECT_EQ(open_disk(path()).error().code, ExitCode::Busy);
  stdfs::remove(intent_path(path()));
  stdfs::create_directory(intent_path(path()));
  EXPECT_EQ(open_disk(path()).error().code, ExitCode::Busy);
}

TEST_F(Recover, SymbolicLinksInsideLeadNowhere) {
  stdfs::create_directory_symlink(stdfs::path(directory_).parent_path(), file("up"));
  ASSERT_TRUE(write_intent(path(), {.op = "snapshot", .uuid = kA, .creates = {"up/outside"}}));
  EXPECT_FALSE(open_disk(path()));
  EXPECT_TRUE(stdfs::exists(outside_));
}

TEST_F(Recover, OnAReadOnlyHostTheDescriptorIsRightAsItStands) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  for (const auto& [note, usable] : std::vector<std::pair<std::optional<Intent>, bool>>{
           {std::nullopt, true},
           {Intent{.op = "snapshot", .uuid = kA, .creates = {"root.hdd.{1}"}}, true},
           {Intent{.op = "resize", .phase = "work", .creates = {"root.hdd.{1}"}}, true},
           {Intent{.op = "resize", .phase = "merge", .creates = {"root.hdd.{1}"}}, false}}) {
    if (note) {
      ASSERT_TRUE(write_intent(path(), *note));
    }
    touch(staged_path(path()));
    const auto before = state();
    ASSERT_EQ(::mount(directory_.c_str(), directory_.c_str(), nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(::mount(nullptr, directory_.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
    EXPECT_EQ(open_disk(path(), {.recovery = Recovery::TopSuffices}).has_value(), usable);
    EXPECT_FALSE(open_disk(path())) << "nothing can be changed there";
    ASSERT_EQ(::umount2(directory_.c_str(), MNT_DETACH), 0);
    EXPECT_EQ(state(), before);
  }
}

TEST_F(Recover, DisksOfOneDirectoryHaveNotesOfTheirOwn) {
  const std::string other = file("Other.xml");
  ASSERT_TRUE(write_intent(path(), {.op = "snapshot", .uuid = kA}));
  ASSERT_TRUE(write_intent(other, {.op = "grow"}));
  EXPECT_EQ((*read_intent(path()))->op, "snapshot");
  EXPECT_EQ((*read_intent(other))->op, "grow");
  ASSERT_TRUE(remove_intent(other));
  EXPECT_TRUE(*read_intent(path()));
}

TEST(Intent, SurvivesTheRoundTrip) {
  const Intent intent{.op = "merge",
                      .uuid = kA,
                      .phase = "copy",
                      .creates = {"a", "sub/b \n\xff"},
                      .consumes = {"c"},
                      .parameters = {{"new", "\x80z"}, {"empty", ""}}};
  const auto back = decode_intent(encode_intent(intent, "d\xff.xml"), "d\xff.xml");
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, intent);
}

TEST(Intent, NamesFilesBelowTheDirectoryOnly) {
  EXPECT_EQ(*intent_name("/d/x.xml", "/d/sub/a"), "sub/a");
  EXPECT_EQ(*intent_name("/x.xml", "/a"), "a");
  for (const char* outside : {"/e/a", "/d", "/d/", "/d/../a", "/d/./a", "a"}) {
    EXPECT_EQ(intent_name("/d/x.xml", outside).error().code, ExitCode::Descriptor) << outside;
  }
}

}  // namespace
}  // namespace ploop::ops
