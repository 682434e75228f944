// A worker that was taken over by an image asks for more than it should get.
#include "daemon/authority.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/file_desk.hpp"
#include "daemon/file_source.hpp"

namespace ploop::daemon {
namespace {

using control::AttachSpec;
using control::ChainState;
using control::CommitPoint;
using control::DeltaSpec;
using control::ImageKind;
using control::Permission;

AttachSpec two_levels() {
  AttachSpec order;
  order.deltas = {{"/vol/base", ImageKind::Ploop1, true}, {"/vol/top", ImageKind::Ploop1, false}};
  return order;
}

/// The order, changed as the guardian would.
class AuthorityTest : public testing::Test {
 protected:
  [[nodiscard]] ChainState with_new_top(const std::string& file, const CommitPoint& commit) const {
    ChainState next{order_.deltas, false, 2048, commit};
    next.deltas.back().read_only = true;
    next.deltas.push_back({file, ImageKind::Ploop1, false});
    return next;
  }
  AttachSpec order_ = two_levels();
  Authority authority_{order_};
  const CommitPoint commit_{"/vol/.staged", "/vol/DiskDescriptor.xml"};
  const DeltaSpec new_top_{"/vol/new", ImageKind::Ploop1, false};
};

TEST_F(AuthorityTest, TheOrderSaysWhatMayBeOpened) {
  EXPECT_TRUE(authority_.may_open("/vol/base", false));
  EXPECT_TRUE(authority_.may_open("/vol/top", true));
  EXPECT_FALSE(authority_.may_open("/vol/base", true)) << "others may share it";
  EXPECT_FALSE(authority_.may_open("/etc/shadow", false));
  EXPECT_FALSE(authority_.may_open("/vol/../vol/top", false)) << "only the very name";
  EXPECT_FALSE(authority_.may_open("", false));
}

TEST_F(AuthorityTest, NothingChangesWithoutACommand) {
  EXPECT_FALSE(authority_.may_become(with_new_top("/vol/new", commit_)));
  EXPECT_FALSE(authority_.may_become({order_.deltas, false, 4096, {}})) << "not even the size";
}

TEST_F(AuthorityTest, ACommandAllowsItsFilesAndItsCommitPoint) {
  authority_.allow(1, {{new_top_}, false, commit_});
  EXPECT_TRUE(authority_.may_open("/vol/new", true));
  EXPECT_TRUE(authority_.may_become(with_new_top("/vol/new", commit_)));
  EXPECT_TRUE(authority_.may_become(with_new_top("/vol/new", {})));
  EXPECT_FALSE(authority_.may_become(with_new_top("/etc/shadow", commit_)));
  EXPECT_FALSE(authority_.may_become(with_new_top("/vol/new", {"/etc/shadow", "/etc/passwd"})));
  EXPECT_FALSE(authority_.may_become(with_new_top("/vol/new", {commit_.to, commit_.from})))
      << "the other way round";
  EXPECT_FALSE(authority_.may_open("/etc/shadow", false));
  EXPECT_FALSE(authority_.may_open("/vol/base", true));
}

TEST_F(AuthorityTest, AFileStaysWhatItIs) {
  authority_.allow(1, {{new_top_}, false, commit_});
  ChainState next = with_new_top("/vol/new", commit_);
  next.deltas.front().kind = ImageKind::Raw;
  EXPECT_FALSE(authority_.may_become(next)) << "a format is never guessed";
  next = with_new_top("/vol/new", commit_);
  next.deltas.front().read_only = false;
  EXPECT_FALSE(authority_.may_become(next)) << "the next worker would write to the base";
  next.deltas.clear();
  EXPECT_FALSE(authority_.may_become(next));
}

TEST_F(AuthorityTest, OnlyAMergeMayWriteTheLevelBelow) {
  authority_.allow(1, {{}, true, commit_});
  EXPECT_TRUE(authority_.may_open("/vol/base", true));
  ChainState merging{order_.deltas, true, 2048, {}};
  merging.deltas.front().read_only = false;
  EXPECT_TRUE(authority_.may_become(merging));
  order_.deltas = merging.deltas;
  order_.merging = true;
  ChainState merged = merging;
  merged.deltas.pop_back();
  merged.merging = false;
  merged.commit = commit_;
  EXPECT_TRUE(authority_.may_become(merged));
  order_.deltas.insert(order_.deltas.begin(), {"/vol/lowest", ImageKind::Ploop1, true});
  EXPECT_FALSE(authority_.may_open("/vol/lowest", true));
}

TEST_F(AuthorityTest, ACommitPointIsPassedOnce) {
  authority_.allow(1, {{new_top_}, false, commit_});
  authority_.passed({});
  EXPECT_TRUE(authority_.may_become(with_new_top("/vol/new", commit_)));
  authority_.passed(commit_);
  EXPECT_FALSE(authority_.may_become(with_new_top("/vol/new", commit_)));
  EXPECT_FALSE(authority_.may_open("/vol/new", false)) << "until it is a level";
}

TEST_F(AuthorityTest, WhatWasAllowedEndsWithTheAnswer) {
  authority_.allow(1, {{new_top_}, false, commit_});
  authority_.allow(2, {{}, true, {}});
  authority_.revoke(1);
  EXPECT_FALSE(authority_.may_open("/vol/new", true));
  EXPECT_TRUE(authority_.may_open("/vol/base", true)) << "of another command";
}

TEST_F(AuthorityTest, WhatADeadCommandAllowedEndsWithTheNextCommand) {
  authority_.allow(1, {{new_top_}, false, commit_});
  authority_.closed(1);
  EXPECT_TRUE(authority_.may_become(with_new_top("/vol/new", commit_)))
      << "the worker may be just about to ask";
  authority_.allow(2, {{}, true, {}});
  EXPECT_FALSE(authority_.may_become(with_new_top("/vol/new", commit_)));
}

TEST_F(AuthorityTest, AReadOnlyDeviceNeverChanges) {
  order_.read_only = true;
  order_.deltas.back().read_only = true;
  authority_.allow(1, {{new_top_}, true, commit_});
  EXPECT_FALSE(authority_.may_become(with_new_top("/vol/new", commit_)));
  EXPECT_FALSE(authority_.may_open("/vol/base", true));
}

/// The desk with a worker at its other end.
class FileDeskTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ploop-desk-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    std::ofstream(path("top")) << "image";
    std::ofstream(path("secret")) << "secret";
    std::filesystem::create_symlink(path("secret"), path("link"));
    ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
    for (const char* name : {"top", "link", "fifo", "absent"})
      order_.deltas.push_back({path(name), ImageKind::Raw, false});
    auto ends = Channel::pair().value();
    desk_.emplace(authority_, files_, std::move(ends.first));
    worker_ = std::move(ends.second);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  /// What the desk answers to one request.
  Message ask(const char* what, const std::string& body) {
    EXPECT_TRUE(worker_.send(what, body));
    desk_->answer(desk_->channel().wait(1000).value());
    return worker_.wait(1000).value();
  }
  Message open(const std::string& file) {
    return ask("open",
               control::to_line(control::Json{{"path", file}, {"writable", true}, {"direct", false}}));
  }
  std::string directory_;
  AttachSpec order_;
  Authority authority_{order_};
  LevelFiles files_{order_};
  std::optional<FileDesk> desk_;
  Channel worker_;
};

TEST_F(FileDeskTest, HandsOutWhatTheOrderNames) {
  const Message opened = open(path("top"));
  EXPECT_EQ(opened.name, "opened");
  ASSERT_TRUE(opened.descriptor);
  char bytes[8] = {};
  EXPECT_EQ(::pread(opened.descriptor.get(), bytes, sizeof bytes, 0), 5);
}

TEST_F(FileDeskTest, RefusesEverythingElse) {
  for (const std::string& file : {std::string("/etc/shadow"), path("secret"), path("link"), path("fifo"),
                                  path("absent"), std::string("/dev/null"), directory_ + "/./top"}) {
    const Message answer = open(file);
    EXPECT_EQ(answer.name, "error") << file;
    EXPECT_FALSE(answer.descriptor) << file;
  }
  EXPECT_FALSE(std::filesystem::exists(path("absent"))) << "nothing is ever made";
}

TEST_F(FileDeskTest, ALevelIsTheSameFileForEveryWorker) {
  open(path("top"));
  std::filesystem::rename(path("top"), path("moved"));
  std::ofstream(path("top")) << "another";
  const Message opened = open(path("top"));
  ASSERT_TRUE(opened.descriptor);
  EXPECT_EQ(file_id(opened.descriptor.get()), file_id(path("moved")));
}

TEST_F(FileDeskTest, AFreshFileIsTheOneThatTheCommandMeans) {
  open(path("top"));
  std::ofstream(path("new")) << "new";
  const auto fresh = [&](const std::string& file) {
    return ask("open", control::to_line(control::Json{
                           {"path", file}, {"writable", true}, {"direct", false}, {"fresh", true}}));
  };
  EXPECT_EQ(fresh(path("top")).name, "error") << "no command has named it";
  DeltaSpec wanted{path("new"), ImageKind::Ploop1, false, file_id(path("new"))};
  authority_.allow(1, {{wanted}, false, {}});
  EXPECT_EQ(open(path("new")).name, "error") << "not a level yet";
  EXPECT_EQ(file_id(fresh(path("new")).descriptor.get()), wanted.file);
  wanted.file = file_id(path("secret"));
  authority_.allow(1, {{wanted}, false, {}});
  EXPECT_EQ(fresh(path("new")).name, "error") << "another file has the name by now";
}

TEST_F(FileDeskTest, RefusesRequestsThatAreNone) {
  EXPECT_EQ(ask("open", "{}").name, "error");
  EXPECT_EQ(ask("open", R"({"path":7,"writable":true,"direct":false})").name, "error");
  EXPECT_EQ(ask("unlink", "{}").name, "error");
  EXPECT_EQ(ask("user", R"({"path":"/etc/shadow"})").name, "error");
}

TEST_F(FileDeskTest, TheWorkersEndGetsAFileItCanLock) {
  // The worker's end waits for the answer, so the desk needs somebody else to work at it.
  GuardianFiles files{std::move(worker_)};
  std::thread guardian([this] {
    for (int i = 0; i < 2; ++i)
      desk_->answer(desk_->channel().wait(5000).value());
  });
  auto file = files.open(path("top"), true, true, FileRole::Level);
  auto refused = files.open("/etc/shadow", false, false, FileRole::Level);
  guardian.join();
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_TRUE((*file)->try_lock(io::LockKind::Exclusive).value());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::Open);
}

}  // namespace
}  // namespace ploop::daemon
