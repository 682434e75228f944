// Which files the levels of a device are, whatever becomes of their names.
#include "daemon/level_files.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace ploop::daemon {
namespace {

using control::ChainState;
using control::DeltaSpec;
using control::ImageKind;

class LevelFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ploop-levels-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    for (const char* name : {"base", "top"}) {
      write(name);
      order_.deltas.push_back({path(name), ImageKind::Ploop1, false});
      ASSERT_TRUE(files_.open_level(path(name), {}));
    }
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void write(const std::string& name) const { std::ofstream(path(name)) << name; }
  /// Another file gets the name; gives which one had it.
  FileId exchange(const std::string& name) const {
    const FileId before = file_id(path(name)).value();
    std::filesystem::rename(path(name), path("moved " + name));
    write(name);
    return before;
  }
  FileId opened(const Result<io::PosixDescriptors>& file) {
    return file ? file_id(file->cached.get()).value() : FileId{};
  }
  std::string directory_;
  control::AttachSpec order_;
  LevelFiles files_{order_};
};

TEST_F(LevelFilesTest, ALevelStaysTheFileThatItWas) {
  const FileId before = exchange("top");
  EXPECT_EQ(order_.deltas[1].file, before);
  EXPECT_EQ(opened(files_.open_level(path("top"), {.writable = true})), before);
  std::filesystem::remove(path("moved top"));
  EXPECT_EQ(opened(files_.open_level(path("top"), {})), before) << "also without a name";
}

TEST_F(LevelFilesTest, AReferenceHasNoPartInTheLocks) {
  {
    auto file =
        io::PosixFile::adopt("top", files_.open_level(path("top"), {.writable = true}).value()).value();
    ASSERT_TRUE(file->try_lock(io::LockKind::Exclusive).value());
  }
  const auto other = io::PosixFile::open(path("top"), {.writable = true}).value();
  EXPECT_TRUE(other->try_lock(io::LockKind::Exclusive).value());
}

TEST_F(LevelFilesTest, AFreshFileIsFoundByItsNameOrIsTheOneThatIsMeant) {
  const FileId before = exchange("base");
  EXPECT_EQ(opened(files_.open_fresh({path("base")}, {})), file_id(path("base")));
  EXPECT_EQ(opened(files_.open_fresh({path("base"), ImageKind::Ploop1, true, before}, {})), before)
      << "the level itself";
  write("new");
  EXPECT_FALSE(files_.open_fresh(
      {path("new"), ImageKind::Ploop1, true, FileId{before.device, before.inode + 100000}}, {}));
}

TEST_F(LevelFilesTest, AChangeKeepsTheOthersAndTakesTheFreshOnes) {
  const FileId base = exchange("base");
  write("new");
  ASSERT_TRUE(files_.open_fresh({path("base")}, {}));
  ASSERT_TRUE(files_.open_fresh({path("new")}, {}));
  ChainState next{order_.deltas, false, 0, {}, {2}};
  next.deltas.push_back({path("new"), ImageKind::Ploop1, false});
  ASSERT_TRUE(files_.identify(next));
  EXPECT_EQ(next.deltas[0].file, base) << "another file of that name was opened for another change";
  EXPECT_EQ(next.deltas[2].file, file_id(path("new")));
  next.fresh = {0, 2};
  ASSERT_TRUE(files_.identify(next));
  EXPECT_EQ(next.deltas[0].file, file_id(path("base")));
  next.deltas[2].path = path("unknown");
  EXPECT_FALSE(files_.identify(next));
  next.fresh.clear();
  EXPECT_FALSE(files_.identify(next));
}

TEST_F(LevelFilesTest, WhatDidNotBecomeALevelIsForgotten) {
  write("new");
  ASSERT_TRUE(files_.open_fresh({path("new")}, {}));
  const auto references = [&] {
    std::ptrdiff_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code none;
      count += std::filesystem::read_symlink(entry.path(), none).string().starts_with(directory_) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(references(), 3);
  files_.forget_others();
  EXPECT_EQ(references(), 2);
  order_.deltas.pop_back();
  files_.forget_others();
  EXPECT_EQ(references(), 1);
}

TEST_F(LevelFilesTest, AnotherProgramGoesOnWithTheSameFiles) {
  const FileId before = exchange("top");
  std::vector<int> copies;
  for (const int fd : files_.descriptors())
    copies.push_back(::dup(fd));
  ASSERT_EQ(copies.size(), 2u);
  control::AttachSpec order = order_;
  for (DeltaSpec& delta : order.deltas)
    delta.file.reset();
  LevelFiles next{order};
  next.adopt(copies);
  EXPECT_EQ(order.deltas, order_.deltas);
  EXPECT_EQ(opened(next.open_level(path("top"), {})), before);
}

}  // namespace
}  // namespace ploop::daemon
