// Which devices are those of a disk: known by files, not by names.
#include "ops/running.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "descriptor/tree_edit.hpp"

namespace ploop::ops {
namespace {

namespace stdfs = std::filesystem;
const std::string kSnapshot = "{aaaaaaaa-1111-4111-8111-000000000001}";

class Running : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (stdfs::canonical(stdfs::temp_directory_path()) / "ploop-running-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    make("disk");
  }
  void TearDown() override { stdfs::remove_all(directory_); }
  void make(const std::string& name) const {
    stdfs::create_directory(directory_ + "/" + name);
    for (const char* file : {"/root.hdd", "/top.hdd"})
      std::ofstream(directory_ + "/" + name + file) << name;
  }
  /// A disk of two levels in this directory.
  [[nodiscard]] descriptor::Disk disk(const std::string& name) const {
    descriptor::Disk result = descriptor::new_disk({.directory = directory_ + "/" + name,
                                                    .image = directory_ + "/" + name + "/root.hdd",
                                                    .size_sectors = 20480,
                                                    .cylinders = 20,
                                                    .heads = 16});
    descriptor::add_snapshot(result, kSnapshot, directory_ + "/" + name + "/top.hdd", false);
    return result;
  }
  [[nodiscard]] DiskNames names(const std::string& name) const { return {disk(name), descriptor(name)}; }
  [[nodiscard]] std::string descriptor(const std::string& name) const {
    return directory_ + "/" + name + "/DiskDescriptor.xml";
  }
  /// What a device of that disk says of itself.
  [[nodiscard]] DeviceState device(const std::string& name, bool read_only = false) const {
    DeviceState state;
    state.number = 0;
    state.read_only = read_only;
    state.descriptor = descriptor(name);
    state.place = file_id(directory_ + "/" + name);
    for (const char* file : {"/root.hdd", "/top.hdd"}) {
      const std::string path = directory_ + "/" + name + file;
      state.deltas.push_back(
          {path, control::ImageKind::Ploop1, read_only || std::string(file) != "/top.hdd", file_id(path)});
    }
    return state;
  }
  std::string directory_;
};

TEST_F(Running, ADiskHasItsDevice) {
  for (const bool read_only : {false, true}) {
    EXPECT_TRUE(names("disk").has(device("disk", read_only)));
    EXPECT_EQ(names("disk").is_written_by(device("disk", read_only)), !read_only);
  }
}

TEST_F(Running, ADiskThatWasMovedHasItsDeviceAndTheOneInItsPlaceHasNot) {
  for (const bool read_only : {false, true}) {
    const DeviceState running = device("disk", read_only);
    stdfs::rename(directory_ + "/disk", directory_ + "/moved");
    make("disk");
    EXPECT_TRUE(names("moved").has(running));
    EXPECT_EQ(names("moved").is_written_by(running), !read_only);
    EXPECT_FALSE(names("disk").has(running));
    EXPECT_FALSE(names("disk").shares_with(running));
    EXPECT_FALSE(names("disk").is_written_by(running));
    EXPECT_EQ(level_of(running, directory_ + "/moved/top.hdd"), 1u);
    EXPECT_FALSE(level_of(running, directory_ + "/disk/top.hdd"));
    EXPECT_FALSE(confirm_names(running));
    stdfs::remove_all(directory_ + "/disk");
    stdfs::rename(directory_ + "/moved", directory_ + "/disk");
    EXPECT_TRUE(confirm_names(running));
  }
}

TEST_F(Running, ACloneThatSharesItsBaseIsAnotherDisk) {
  stdfs::create_directory(directory_ + "/clone");
  stdfs::create_hard_link(directory_ + "/disk/root.hdd", directory_ + "/clone/root.hdd");
  std::ofstream(directory_ + "/clone/top.hdd") << "clone";
  EXPECT_FALSE(names("clone").has(device("disk")));
  EXPECT_FALSE(names("clone").is_written_by(device("disk")));
  EXPECT_TRUE(names("clone").shares_with(device("disk"))) << "its base must stay as it is";
  EXPECT_FALSE(names("clone").has(device("disk", true)));
}

TEST_F(Running, WhatIsWrittenToIsTheSameDiskThroughHardLinks) {
  stdfs::create_directory(directory_ + "/links");
  for (const char* file : {"/root.hdd", "/top.hdd"})
    stdfs::create_hard_link(directory_ + "/disk" + file, directory_ + "/links" + file);
  EXPECT_TRUE(names("links").has(device("disk")));
  EXPECT_TRUE(names("links").is_written_by(device("disk")));
}

TEST_F(Running, FilesThatAreGoneAreKnownByTheirNames) {
  const DeviceState running = device("disk");
  stdfs::remove(directory_ + "/disk/top.hdd");
  EXPECT_TRUE(names("disk").has(running));
  EXPECT_TRUE(names("disk").is_written_by(running));
  stdfs::remove(directory_ + "/disk/root.hdd");
  EXPECT_TRUE(names("disk").has(running));
}

TEST_F(Running, DevicesOfOlderDaemonsAreKnownByWhatTheirNamesLeadTo) {
  DeviceState running = device("disk");
  for (control::DeltaSpec& level : running.deltas)
    level.file.reset();
  running.place.reset();
  EXPECT_TRUE(names("disk").is_written_by(running));
  stdfs::create_directory_symlink(directory_ + "/disk", directory_ + "/link");
  EXPECT_TRUE(names("link").is_written_by(running));
  EXPECT_FALSE(new_level(running, directory_ + "/disk/top.hdd", control::ImageKind::Ploop1, false).file);
}

}  // namespace
}  // namespace ploop::ops
