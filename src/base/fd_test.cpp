#include "base/fd.hpp"

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "base/paths.hpp"

namespace ploop {
namespace {

class TempDir : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/ploop_fd_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    ::unlink((dir_ + "/f").c_str());
    ::rmdir(dir_.c_str());
  }
  std::string dir_;
};

TEST_F(TempDir, AtomicReplaceKeepsModeAndLeavesNoTemporary) {
  const std::string path = dir_ + "/f";
  ASSERT_TRUE(write_file_atomic(path, "one", 0600));
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  ASSERT_TRUE(write_file_atomic(path, "two", 0600));
  EXPECT_EQ(*read_file(path, 100), "two");
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  int entries = 0;
  DIR* d = ::opendir(dir_.c_str());
  while (::readdir(d) != nullptr)
    ++entries;
  ::closedir(d);
  EXPECT_EQ(entries, 3) << ". and .. and the file";
}

TEST_F(TempDir, WhatIsToReplaceAnotherFileHasItsMode) {
  const std::string path = dir_ + "/f";
  const std::string staged = dir_ + "/f.tmp";
  ASSERT_TRUE(write_file_atomic(path, "one", 0600));
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  ASSERT_TRUE(write_file_atomic(staged, "two", 0600, path));
  struct stat st {};
  ASSERT_EQ(::stat(staged.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_TRUE(write_file_atomic(staged, "three", 0600, path)) << "there is none";
  ASSERT_EQ(::rename(staged.c_str(), path.c_str()), 0);
}

TEST_F(TempDir, ReadRefusesWhatIsLargerThanTheLimit) {
  ASSERT_TRUE(write_file_atomic(dir_ + "/f", "12345", 0600));
  EXPECT_FALSE(read_file(dir_ + "/f", 4));
  EXPECT_TRUE(read_file(dir_ + "/f", 5));
}

TEST(Paths, DeviceNumbersOfEverySpelling) {
  EXPECT_EQ(device_number("/dev/ploop12"), 12);
  EXPECT_EQ(device_number("/dev/ploop12p1"), 12);
  EXPECT_EQ(device_number("ploop0"), 0);
  EXPECT_EQ(device_number("/dev/mapper/ploop3"), 3);
  EXPECT_EQ(device_number("/dev/loop3"), -1);
  EXPECT_EQ(device_number("/dev/ploop"), -1);
  EXPECT_EQ(device_number("/dev/ploop3x"), -1);
  EXPECT_EQ(device_number("/dev/ploop3p"), -1);
}

TEST(Paths, DirectoryAndBaseName) {
  EXPECT_EQ(directory_of("a"), ".");
  EXPECT_EQ(directory_of("/a"), "/");
  EXPECT_EQ(directory_of("/a/b"), "/a");
  EXPECT_EQ(base_name("/a/b"), "b");
}

}  // namespace
}  // namespace ploop
