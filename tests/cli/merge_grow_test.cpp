// merge and grow of closed images and disks: exit status, words, what is touched, what a killed command left.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

constexpr std::uint64_t kSize = 20480;  ///< 10 MiB
constexpr std::uint32_t kCluster = 64;

ImageBuilder image(std::vector<std::uint32_t> guests, std::uint64_t size = kSize) {
  ImageBuilder builder(size, kCluster);
  for (const std::uint32_t guest : guests)
    builder.allocate(guest);
  return builder;
}

struct Row {
  const char* name;
  std::vector<std::string> args;
  int status;
  std::string says;
};
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

/// Files that the rows of both tables use.
void prepare(const Sandbox& box) {
  image({0, 3}).write(box / "base.hdd");
  image({3, 5}).write(box / "up.hdd");
  image({1}, 2 * kSize).write(box / "large.hdd");
  ImageBuilder v1(kSize, kCluster, format::Version::V1);
  v1.allocate(2).write(box / "v1.hdd");
  ImageBuilder wide(kSize, 128);
  wide.allocate(2).write(box / "wide.hdd");
  ImageBuilder dirty = image({4});
  dirty.header.in_use = format::kInUseMark;
  dirty.write(box / "dirty.hdd");
  std::ofstream(box / "raw.img") << std::string(1000 * 512, 'r');
  std::ofstream(box / "garbage") << std::string(65536, 'x');
}

std::vector<std::string> contents(const Sandbox& box) {
  std::vector<std::string> all;
  for (const char* name :
       {"base.hdd", "up.hdd", "large.hdd", "v1.hdd", "wide.hdd", "dirty.hdd", "raw.img", "garbage"})
    all.push_back(slurp(box / name));
  return all;
}

class Refused : public testing::TestWithParam<Row> {};

TEST_P(Refused, AndNothingIsTouched) {
  const Sandbox box;
  prepare(box);
  const auto before = contents(box);
  const ProcessResult result = box.ploop(GetParam().args);
  EXPECT_EQ(result.status, GetParam().status) << result.out << result.err;
  EXPECT_NE((result.out + result.err).find(GetParam().says), std::string::npos) << result.out << result.err;
  EXPECT_EQ(contents(box), before);
}

INSTANTIATE_TEST_SUITE_P(
    Cli, Refused,
    testing::Values(
        Row{"merge_nothing", {"merge"}, 38, "Usage"}, Row{"merge_one", {"merge", "up.hdd"}, 38, "two images"},
        Row{"merge_descriptor",
            {"merge", "DiskDescriptor.xml"},
            38,
            "Please use ploop snapshot-merge command"},
        Row{"merge_version_of_base", {"merge", "up.hdd", "v1.hdd"}, 11, "Wrong version"},
        Row{"merge_version_of_source", {"merge", "up.hdd", "v1.hdd", "base.hdd"}, 11, "Wrong version"},
        Row{"merge_cluster_of_base", {"merge", "up.hdd", "wide.hdd"}, 11, "Wrong blocksize"},
        Row{"merge_larger_base", {"merge", "up.hdd", "large.hdd"}, 11, "is larger than"},
        Row{"merge_dirty_source", {"merge", "dirty.hdd", "base.hdd"}, 4, "Image is in use dirty.hdd"},
        Row{"merge_dirty_base", {"merge", "up.hdd", "dirty.hdd"}, 4, "Image is in use dirty.hdd"},
        Row{"merge_twice", {"merge", "base.hdd", "./base.hdd"}, 38, "named twice"},
        Row{"merge_missing", {"merge", "nosuch", "base.hdd"}, 4, "nosuch"},
        Row{"merge_garbage", {"merge", "garbage", "base.hdd"}, 11, "Wrong signature"},
        Row{"merge_new_exists", {"merge", "-n", "wide.hdd", "up.hdd", "base.hdd"}, 38, "File exists"},
        Row{"merge_format", {"merge", "-f", "qcow2", "up.hdd", "base.hdd"}, 38, "Bad -f argument"},
        Row{"grow_nothing", {"grow"}, 38, "-s"}, Row{"grow_no_operand", {"grow", "-s", "20m"}, 38, "missing"},
        Row{"grow_zero", {"grow", "-s", "0", "base.hdd"}, 38, "-s"},
        Row{"grow_smaller",
            {"grow", "-s", "5m", "base.hdd"},
            38,
            "Error: new size 10240 is less than the old size 20480"},
        Row{"grow_unaligned",
            {"grow", "-s", "20481", "base.hdd"},
            38,
            "aligned to the cluster block size 64"},
        Row{"grow_v1_too_large", {"grow", "-s", "3t", "v1.hdd"}, 38, "maximum allowed size"},
        Row{"grow_dirty", {"grow", "-s", "20m", "dirty.hdd"}, 4, "Image is in use dirty.hdd"},
        Row{"grow_raw_smaller", {"grow", "-f", "raw", "-s", "100", "raw.img"}, 38, "less than the old size"},
        Row{"grow_garbage", {"grow", "-s", "20m", "garbage"}, 11, "Wrong signature"},
        Row{"grow_same", {"grow", "-s", "20480", "base.hdd"}, 0, ""}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(CliMerge, UpperIntoBaseAndTheUpperStays) {
  const Sandbox box;
  prepare(box);
  const std::string upper = slurp(box / "up.hdd");
  const ProcessResult merged = box.ploop({"merge", "up.hdd", "base.hdd"});
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_EQ(merged.out, "Merging image: up.hdd -> base.hdd\n");
  EXPECT_EQ(slurp(box / "up.hdd"), upper);
  const ProcessResult check = box.ploop({"check", "-f", "-c", "-r", "base.hdd"});
  EXPECT_EQ(check.status, 0) << check.out << check.err;
  // 0 and 3 were there, 5 came.
  EXPECT_EQ(slurp(box / "base.hdd").size(), 4u * kCluster * 512);
}

TEST(CliMerge, IntoANewImageLeavesAllOperands) {
  const Sandbox box;
  prepare(box);
  const auto before = contents(box);
  const ProcessResult merged = box.ploop({"merge", "-n", "new.hdd", "up.hdd", "base.hdd"});
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_EQ(merged.out, "Merging images: up.hdd base.hdd -> (new) new.hdd\n");
  EXPECT_EQ(contents(box), before);
  EXPECT_EQ(box.ploop({"check", "-f", "-c", "-r", "new.hdd"}).status, 0);
}

/// What a killed merge leaves: the mark, some clusters moved, the note. The same merge goes on, another one
/// does not.
TEST(CliMerge, GoesOnWithAnInterruptedMerge) {
  const Sandbox box;
  prepare(box);
  ImageBuilder half = image({0, 3, 5});
  half.header.in_use = format::kInUseMark;
  half.write(box / "half.hdd");
  EXPECT_EQ(box.ploop({"merge", "up.hdd", "half.hdd"}).status, 4);
  EXPECT_FALSE(exists(box / ".half.hdd.ploop-merge-note"));
  write_text(box / ".half.hdd.ploop-merge-note", box / "up.hdd\n");
  EXPECT_EQ(box.ploop({"merge", "large.hdd", "half.hdd"}).status, 4);
  const ProcessResult merged = box.ploop({"merge", "up.hdd", "half.hdd"});
  EXPECT_EQ(merged.status, 0) << merged.err;
  EXPECT_FALSE(exists(box / ".half.hdd.ploop-merge-note"));
  EXPECT_EQ(box.ploop({"check", "-f", "-c", "-r", "half.hdd"}).status, 0);
}

TEST(CliMerge, IntoARawBaseThatIsSmaller) {
  const Sandbox box;
  prepare(box);
  ASSERT_EQ(box.ploop({"merge", "-f", "raw", "up.hdd", "raw.img"}).status, 0);
  const std::string raw = slurp(box / "raw.img");
  ASSERT_EQ(raw.size(), kSize * 512);
  EXPECT_EQ(raw.substr(0, 3u * kCluster * 512), std::string(3u * kCluster * 512, 'r'));
}

TEST(CliGrow, AnImageAndItsTable) {
  const Sandbox box;
  prepare(box);
  const std::string before = slurp(box / "base.hdd");
  ASSERT_EQ(box.ploop({"grow", "-s", "1g", "base.hdd"}).status, 0);
  const ProcessResult check = box.ploop({"check", "-f", "-c", "-r", "base.hdd"});
  EXPECT_EQ(check.status, 0) << check.out << check.err;
  ASSERT_EQ(box.ploop({"grow", "-f", "raw", "-s", "1001", "raw.img"}).status, 0);
  EXPECT_EQ(slurp(box / "raw.img").size(), 1008u * 512);
}

class GrowDisk : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(box.ploop({"init", "-s", "100m", "-t", "none", "root.hdd"}).status, 0); }
  std::string size() { return box.ploop({"info", "-s", "DiskDescriptor.xml"}).out; }
  Sandbox box;
};

TEST_F(GrowDisk, ImageAndDescriptorTogether) {
  ASSERT_EQ(box.ploop({"grow", "-s", "200m", "DiskDescriptor.xml"}).status, 0);
  EXPECT_NE(size().find("409600"), std::string::npos) << size();
  EXPECT_NE(slurp(box / "DiskDescriptor.xml").find("<Disk_size>409600</Disk_size>"), std::string::npos);
  const ProcessResult smaller = box.ploop({"grow", "-s", "100m", "DiskDescriptor.xml"});
  EXPECT_EQ(smaller.status, 38);
  EXPECT_FALSE(exists(box / ".ploop-intent"));
  EXPECT_FALSE(exists(box / "DiskDescriptor.xml.tmp"));
}

}  // namespace
}  // namespace ploop::test
