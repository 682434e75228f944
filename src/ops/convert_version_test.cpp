// An interrupted conversion of versions goes on with what the images are by now.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "image/convert.hpp"
#include "image/create.hpp"
#include "image/editor.hpp"
#include "io/posix_file.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {
namespace {

namespace stdfs = std::filesystem;

class ConvertVersion : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = (stdfs::canonical(stdfs::temp_directory_path()) / "ploop-version-XXXXXX").string();
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    ASSERT_TRUE(image::create_image(image(), {.size_sectors = 20480, .cluster_sectors = 64}));
    const image::Delta delta = open();
    descriptor::Disk disk = descriptor::new_disk({.directory = directory_,
                                                  .image = image(),
                                                  .size_sectors = 20480,
                                                  .cluster_sectors = 64,
                                                  .cylinders = delta.header().cylinders,
                                                  .heads = delta.header().heads});
    ASSERT_TRUE(descriptor::store(disk, path()));
  }
  void TearDown() override { stdfs::remove_all(directory_); }
  [[nodiscard]] std::string image() const { return directory_ + "/root.hdd"; }
  [[nodiscard]] std::string path() const { return directory_ + "/DiskDescriptor.xml"; }
  [[nodiscard]] image::Delta open() const {
    auto file = io::PosixFile::open(image(), {.writable = true});
    EXPECT_TRUE(file);
    auto delta = image::Delta::open(*std::move(file), image::Kind::Ploop1, {.writable = true});
    EXPECT_TRUE(delta) << delta.error().message();
    return *std::move(delta);
  }
  /// What a command leaves that is killed after it has written the note and before it marks the image.
  void interrupt() const {
    const auto head = image::converted_head(open(), format::Version::V1);
    ASSERT_TRUE(head);
    std::ofstream(image() + ".idx", std::ios::binary)
        .write(reinterpret_cast<const char*>(head->data()), static_cast<std::streamsize>(head->size()));
    ASSERT_TRUE(write_intent(path(), {.op = "convert", .phase = "version-apply"}));
  }
  /// Somebody who knows nothing of notes writes to the image.
  void use(std::uint32_t guest) const {
    image::Delta delta = open();
    image::Editor editor(delta);
    ASSERT_TRUE(editor.begin());
    const auto cluster = editor.allocate();
    ASSERT_TRUE(cluster);
    ASSERT_EQ(editor.file().truncate((*cluster + std::uint64_t{1}) * editor.cluster_bytes()), 0);
    editor.map(guest, *cluster);
    ASSERT_TRUE(editor.finish());
  }

  std::string directory_;
};

TEST_F(ConvertVersion, GoesOn) {
  use(3);
  interrupt();
  ASSERT_TRUE(open_disk(path()));
  const image::Delta delta = open();
  EXPECT_EQ(delta.header().version, format::Version::V1);
  EXPECT_NE(delta.table()[3], 0u);
  EXPECT_FALSE(stdfs::exists(image() + ".idx"));
}

TEST_F(ConvertVersion, AnImageThatWasUsedMeanwhileKeepsItsClusters) {
  use(3);
  interrupt();
  use(5);
  const auto opened = open_disk(path());
  ASSERT_TRUE(opened) << opened.error().message();
  const image::Delta delta = open();
  EXPECT_EQ(delta.header().version, format::Version::V1);
  EXPECT_NE(delta.table()[3], 0u);
  EXPECT_NE(delta.table()[5], 0u) << "the table of before went over that of now";
}

TEST_F(ConvertVersion, AnImageThatWasUsedAndNotClosedIsRepairedFirst) {
  use(3);
  interrupt();
  use(5);
  {
    image::Delta delta = open();
    ASSERT_TRUE(image::Editor(delta).begin());
  }
  const auto opened = open_disk(path());
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(open().header().version, format::Version::V1);
  EXPECT_NE(open().table()[5], 0u);
}

TEST_F(ConvertVersion, AnImageThatWasDoneAndUsedKeepsItsClusters) {
  interrupt();
  ASSERT_TRUE(open_disk(path()));
  interrupt();
  use(5);
  ASSERT_TRUE(open_disk(path()));
  EXPECT_NE(open().table()[5], 0u);
}

}  // namespace
}  // namespace ploop::ops
