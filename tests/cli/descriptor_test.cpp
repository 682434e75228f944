// restore-descriptor, snapshot-list and info on disks that are not attached.
#include <gtest/gtest.h>

#include <filesystem>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

namespace stdfs = std::filesystem;
const std::string kTop = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const std::string kNone = "{00000000-0000-0000-0000-000000000000}";
const std::string kA = "{aaaaaaaa-1111-1111-1111-111111111111}";
const std::string kB = "{bbbbbbbb-1111-1111-1111-111111111111}";

TEST(RestoreDescriptor, GivesBackWhatInitWrote) {
  const Sandbox box;
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{"-s", "1g"}, {"-s", "100m", "-v", "1", "-b", "128"}}) {
    std::vector<std::string> args = {"init", "-t", "none"};
    args.insert(args.end(), options.begin(), options.end());
    args.emplace_back("root.hds");
    ASSERT_EQ(box.ploop(args).status, 0);
    const std::string written = slurp(box / "DiskDescriptor.xml");
    const std::string image = slurp(box / "root.hds");
    stdfs::remove(box / "DiskDescriptor.xml");
    const ProcessResult result = box.ploop({"restore-descriptor", box.dir().path(), box / "root.hds"});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out.find("Storing " + (box / "DiskDescriptor.xml") + "\n"), std::string::npos)
        << result.out;
    EXPECT_EQ(slurp(box / "DiskDescriptor.xml"), written);
    EXPECT_EQ(slurp(box / "root.hds"), image) << "the image is not touched";
    stdfs::remove(box / "DiskDescriptor.xml");
    stdfs::remove(box / "root.hds");
  }
}

TEST(RestoreDescriptor, NeverReplacesADescriptor) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  const std::string before = slurp(box / "DiskDescriptor.xml");
  EXPECT_EQ(box.ploop({"restore-descriptor", ".", "i.hdd"}).status, 38);
  EXPECT_EQ(slurp(box / "DiskDescriptor.xml"), before);
}

TEST(RestoreDescriptor, TakesADirtyImage) {
  const Sandbox box;
  ImageBuilder image(20480, 64);
  image.header.in_use = format::kInUseMark;
  image.write(box / "i.hdd");
  EXPECT_EQ(box.ploop({"restore-descriptor", ".", "i.hdd"}).status, 0);
}

TEST(RestoreDescriptor, RefusesWhatItCannotUnderstand) {
  const Sandbox box;
  write_text(box / "text", std::string(4096, 'x'));
  EXPECT_EQ(box.ploop({"restore-descriptor", ".", "text"}).status, 4);
  EXPECT_EQ(box.ploop({"restore-descriptor", ".", "missing"}).status, 4);
  EXPECT_EQ(box.ploop({"restore-descriptor", "missing-dir", "text"}).status, 39);
  EXPECT_FALSE(exists(box / "DiskDescriptor.xml"));
}

struct RawRow {
  std::size_t bytes;
  std::vector<std::string> options;
  int status;
  const char* facts;
};
TEST(RestoreDescriptor, RawImagesGetAClusterSizeThatDividesThem) {
  const std::vector<RawRow> rows = {
      {4 << 20, {}, 0, "size:\t\t8192\nblocksize:\t2048\nfmt_version:\t0\n"},
      {(4 << 20) + 32768, {}, 0, "size:\t\t8256\nblocksize:\t64\nfmt_version:\t0\n"},
      {4 << 20, {"-b", "128"}, 0, "size:\t\t8192\nblocksize:\t128\nfmt_version:\t0\n"},
      {(4 << 20) + 512, {}, 38, ""},
      {(4 << 20) + 32768, {"-b", "2048"}, 38, ""},
      {100, {}, 38, ""},
      {0, {}, 38, ""},
  };
  for (const RawRow& row : rows) {
    const Sandbox box;
    write_text(box / "disk.raw", std::string(row.bytes, '\0'));
    std::vector<std::string> args = {"restore-descriptor", "-f", "raw"};
    args.insert(args.end(), row.options.begin(), row.options.end());
    args.insert(args.end(), {".", "disk.raw"});
    EXPECT_EQ(box.ploop(args).status, row.status) << row.bytes;
    if (row.status == 0) {
      EXPECT_EQ(box.ploop({"info", "-s", "DiskDescriptor.xml"}).out, row.facts);
    } else {
      EXPECT_FALSE(exists(box / "DiskDescriptor.xml")) << row.bytes;
    }
  }
}

TEST(RestoreDescriptor, DoesNotCallAPloopImageRaw) {
  const Sandbox box;
  ImageBuilder(20480, 64).write(box / "i.hdd");
  const ProcessResult result = box.ploop({"restore-descriptor", "-f", "raw", ".", "i.hdd"});
  EXPECT_EQ(result.status, 38);
  EXPECT_NE(result.err.find("is a ploop1 image"), std::string::npos) << result.err;
  EXPECT_FALSE(exists(box / "DiskDescriptor.xml"));
}

TEST(RestoreDescriptor, ImageElsewhereIsNamedAbsolutelyAndSaidSo) {
  const Sandbox box;
  stdfs::create_directory(box / "d");
  ImageBuilder(20480, 64).write(box / "i.hdd");
  const ProcessResult result = box.ploop({"restore-descriptor", "d", "i.hdd"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.err.find("--allow-external=" + (box / "i.hdd")), std::string::npos) << result.err;
  EXPECT_NE(slurp(box / "d/DiskDescriptor.xml").find("<File>" + (box / "i.hdd") + "</File>"),
            std::string::npos);
}

/// base <- A <- B <- top, and a second child of A: rows in the order of the file, which is not that of the
/// tree.
class SnapshotTree : public testing::Test {
 protected:
  void SetUp() override {
    write_text(
        box_ / "DiskDescriptor.xml",
        descriptor_text(20480, 64,
                        {{kA, kNone, "root.hdd"}, {kTop, kB, "root.hdd.{3}"}, {kB, kA, "root.hdd.{2}"}}));
  }
  std::string list(std::vector<std::string> options) {
    options.insert(options.begin(), "snapshot-list");
    options.emplace_back("DiskDescriptor.xml");
    const ProcessResult result = box_.ploop(options);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  Sandbox box_;
};

TEST_F(SnapshotTree, AllRowsInTheOrderOfTheDescriptor) {
  EXPECT_EQ(list({}),
            "PARENT_UUID                            C UUID                                   FNAME           "
            "                 \n" +
                kNone + "   " + kA + " " + (box_ / "root.hdd") + "\n" + kB + " * " + kTop + " " +
                (box_ / "root.hdd.{3}") + "\n" + kA + "   " + kB + " " + (box_ / "root.hdd.{2}") + "\n");
}

TEST_F(SnapshotTree, SnapshotsOnlyMarksTheParentOfTheTop) {
  EXPECT_EQ(list({"-H", "-s", "-o", "current,uuid"}), "  " + kA + "\n* " + kB + "\n");
}

TEST_F(SnapshotTree, OneNodeWithItsAncestors) {
  EXPECT_EQ(list({"-H", "-o", "uuid", "-u", "bbbbbbbb-1111-1111-1111-111111111111"}), kB + "\n" + kA + "\n");
}

TEST_F(SnapshotTree, NamesForScripts) {
  EXPECT_EQ(list({"-H", "-o", "fname"}),
            (box_ / "root.hdd") + "\n" + (box_ / "root.hdd.{3}") + "\n" + (box_ / "root.hdd.{2}") + "\n");
}

TEST_F(SnapshotTree, EveryErrorIsOne) {
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"snapshot-list", "missing.xml"},
           {"snapshot-list", "-u", "{99999999-1111-1111-1111-111111111111}", "DiskDescriptor.xml"},
           {"snapshot-list", "-u", "nonsense", "DiskDescriptor.xml"},
           {"snapshot-list", "-o", "size", "DiskDescriptor.xml"},
           {"snapshot-list"}}) {
    const ProcessResult result = box_.ploop(args);
    EXPECT_EQ(result.status, 1) << args.back();
    EXPECT_EQ(result.out, "") << args.back();
    EXPECT_NE(result.err, "") << args.back();
  }
}

TEST(Info, NotAttachedHasAnEmptyDevice) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  const ProcessResult result = box.ploop({"-v0", "-v-1", "info", "-d", "DiskDescriptor.xml"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "device:\t\t\n");
  EXPECT_EQ(result.err, "");
}

TEST(Info, BothOptionsGiveBothAnswers) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  EXPECT_EQ(box.ploop({"info", "DiskDescriptor.xml", "-sd"}).out,
            "size:\t\t20480\nblocksize:\t2048\nfmt_version:\t2\ndevice:\t\t\n");
}

TEST(Info, UsageComesFromTheCacheInTheHistoricalTable) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  const std::uint64_t numbers[5] = {4096, 2547013, 2477987, 655360, 655349};
  write_text(box / ".statfs", std::string(reinterpret_cast<const char*>(numbers), sizeof numbers));
  const ProcessResult result = box.ploop({"info", "DiskDescriptor.xml"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out,
            "   resource           Size           Used\n"
            "  1k-blocks       10188052         276104\n"
            "     inodes         655360             11\n");
}

TEST(Info, UnusableDescriptorsAreErrors) {
  const Sandbox box;
  write_text(box / "DiskDescriptor.xml", "<broken");
  EXPECT_EQ(box.ploop({"info", "-d", "DiskDescriptor.xml"}).status, 23);
  EXPECT_EQ(box.ploop({"info", "-s", "missing.xml"}).status, 39);
}

TEST(Umount, OfSomethingNotAttachedTellsApartWhatWasGiven) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  EXPECT_EQ(box.ploop({"umount", "DiskDescriptor.xml"}).status, 40);
  EXPECT_EQ(box.ploop({"umount", "i.hdd"}).status, 38);
  EXPECT_EQ(box.ploop({"umount", "-m", "."}).status, 38);
  EXPECT_EQ(box.ploop({"umount", "-d", box / "dev/ploop0"}).status, 2);
  EXPECT_EQ(box.ploop({"umount", "-d", "/dev/null"}).status, 2);
}

}  // namespace
}  // namespace ploop::test
