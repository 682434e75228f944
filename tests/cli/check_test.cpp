// check on images with one damage each: status, words, and that the file is repaired or untouched as it
// should be.
#include <gtest/gtest.h>

#include <functional>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

constexpr std::uint64_t kSize = 20480;  ///< 10 MiB
constexpr std::uint32_t kCluster = 64;

ImageBuilder sound() {
  ImageBuilder image(kSize, kCluster);
  image.allocate(3).allocate(0).allocate(17);
  return image;
}

struct CheckRow {
  const char* name;
  std::function<void(ImageBuilder&)> damage;
  std::vector<std::string> options;
  int status;
  std::string says;  ///< part of stdout or stderr
  bool changes;
};
void PrintTo(const CheckRow& row, std::ostream* out) {
  *out << row.name;
}

class CheckImage : public testing::TestWithParam<CheckRow> {};

TEST_P(CheckImage, AnswersAndTouchesOnlyWhatItMay) {
  const CheckRow& row = GetParam();
  const Sandbox box;
  ImageBuilder image = sound();
  row.damage(image);
  image.write(box / "i.hdd");
  const std::string before = slurp(box / "i.hdd");
  std::vector<std::string> args = {"check", "i.hdd"};
  args.insert(args.end(), row.options.begin(), row.options.end());
  const ProcessResult result = box.ploop(args);
  EXPECT_EQ(result.status, row.status) << result.out << result.err;
  EXPECT_NE((result.out + result.err).find(row.says), std::string::npos) << result.out << result.err;
  EXPECT_EQ(slurp(box / "i.hdd") != before, row.changes);
}

void none(ImageBuilder&) {}
void dirty(ImageBuilder& i) {
  i.header.in_use = format::kInUseMark;
}
void dirty_with_tail(ImageBuilder& i) {
  dirty(i);
  i.file_clusters += 2;
}
void behind_end(ImageBuilder& i) {
  i.slots[5] = 0x1000;
}
void twice(ImageBuilder& i) {
  i.slots[9] = i.slots[3];
}
void in_header(ImageBuilder& i) {
  i.slots[5] = 0xffffffff;
}
void bad_signature(ImageBuilder& i) {
  i.signature = "NotAnImageAtAll!";
}
void bad_cluster(ImageBuilder& i) {
  i.header.cluster_sectors = 100;
}
void bad_first_block(ImageBuilder& i) {
  i.header.first_block_sectors = 1;
}
void converting(ImageBuilder& i) {
  dirty(i);
  i.header.flags |= format::kFlagConverting;
}

INSTANTIATE_TEST_SUITE_P(
    Cli, CheckImage,
    testing::Values(CheckRow{"clean", none, {}, 0, "Image is clean, check is skipped", false},
                    CheckRow{"clean_silent", none, {"-s"}, 0, "", false},
                    CheckRow{"clean_forced", none, {"-f", "-c"}, 0, "", false},
                    CheckRow{"clean_read_only", none, {"-f", "-r"}, 0, "", false},
                    CheckRow{"dirty", dirty, {}, 37, "Dirty flag is set", false},
                    CheckRow{"dirty_dropped", dirty, {"-d"}, 0, "Dirty flag is set", true},
                    CheckRow{"dirty_dropped_long", dirty, {"--drop-inuse"}, 0, "", true},
                    CheckRow{"dirty_read_only", dirty, {"-d", "-r"}, 7, "ro image", false},
                    CheckRow{"tail", dirty_with_tail, {"-d"}, 0, "Trimming tail", true},
                    CheckRow{"tail_read_only", dirty_with_tail, {"-r"}, 37, "trim tail", false},
                    CheckRow{"behind_end", behind_end, {"-f"}, 11, "beyond EOF", false},
                    CheckRow{"behind_end_hard", behind_end, {"-F"}, 0, "Fixed", true},
                    CheckRow{"behind_end_hard_read_only", behind_end, {"-F", "-r"}, 11, "beyond EOF", false},
                    CheckRow{"twice", twice, {"-f", "-c"}, 11, "is used more than once", false},
                    CheckRow{"reserved_slot", in_header, {"-f"}, 11, "", false},
                    CheckRow{"signature", bad_signature, {}, 11, "Wrong signature", false},
                    CheckRow{"cluster_size", bad_cluster, {}, 11, "cluster size", false},
                    CheckRow{"first_block", bad_first_block, {}, 11, "first block offset", false},
                    CheckRow{"converting", converting, {}, 17, "changing version", false}),
    [](const auto& test) { return test.param.name; });

TEST(Check, RepairedImageIsCleanAtTheNextLook) {
  const Sandbox box;
  ImageBuilder image = sound();
  dirty_with_tail(image);
  image.write(box / "i.hdd");
  ASSERT_EQ(box.ploop({"check", "-d", "i.hdd"}).status, 0);
  const std::string repaired = slurp(box / "i.hdd");
  const ProcessResult again = box.ploop({"check", "-f", "-c", "i.hdd"});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(slurp(box / "i.hdd"), repaired);
}

TEST(Check, MissingAndShortFiles) {
  const Sandbox box;
  EXPECT_EQ(box.ploop({"check", "missing.hdd"}).status, 4);
  write_text(box / "short.hdd", "WithouFreSpacExt");
  EXPECT_EQ(box.ploop({"check", "short.hdd"}).status, 6);
  EXPECT_EQ(box.ploop({"check", "."}).status, 4);
}

TEST(Check, UuidBelongsToDescriptors) {
  const Sandbox box;
  sound().write(box / "i.hdd");
  const ProcessResult result = box.ploop({"check", "-u", "{11111111-1111-1111-1111-111111111111}", "i.hdd"});
  EXPECT_EQ(result.status, 38);
  EXPECT_EQ(result.err, "Option -u is only applicable to DiskDescriptor.xml syntax\n");
}

TEST(Check, AnImageThatSomebodyLockedIsRefusedUntouched) {
  const Sandbox box;
  ImageBuilder image = sound();
  dirty(image);
  image.write(box / "i.hdd");
  const std::string before = slurp(box / "i.hdd");
  // A POSIX lock of another process, as QEMU and our own devices have them.
  const ProcessResult result =
      run({"/usr/bin/env", "python3", "-c",
           "import fcntl,subprocess,sys\nf=open(sys.argv[1],'r+b')\nfcntl.lockf(f,fcntl.LOCK_EX)\n"
           "sys.exit(subprocess.run([sys.argv[2],'check','-d',sys.argv[1]]).returncode)",
           box / "i.hdd", PLOOP_BINARY});
  EXPECT_EQ(result.status, 37) << result.err;
  EXPECT_EQ(slurp(box / "i.hdd"), before);
}

TEST(Check, RawNeedsItsClusterSize) {
  const Sandbox box;
  write_text(box / "raw", std::string(1 << 20, 'x'));
  EXPECT_EQ(box.ploop({"check", "-R", "raw"}).status, 38);
  EXPECT_EQ(box.ploop({"check", "-R", "-b", "64", "raw"}).status, 0);
}

class CheckDisk : public testing::Test {
 protected:
  void SetUp() override {
    write_text(box_ / "DiskDescriptor.xml",
               descriptor_text(kSize, kCluster,
                               {{kLower, "{00000000-0000-0000-0000-000000000000}", "base.hdd"},
                                {"{5fbaabe3-6958-40ff-92a7-860e329aab41}", kLower, "top.hdd"}}));
  }
  void write(bool dirty_lower, bool dirty_top) {
    ImageBuilder lower = sound();
    ImageBuilder top = sound();
    if (dirty_lower) dirty(lower);
    if (dirty_top) dirty(top);
    lower.write(box_ / "base.hdd");
    top.write(box_ / "top.hdd");
  }
  static constexpr const char* kLower = "{11111111-1111-1111-1111-111111111111}";
  Sandbox box_;
};

TEST_F(CheckDisk, CleanIsSilentOnStderr) {
  write(false, false);
  const ProcessResult result = box_.ploop({"check", "DiskDescriptor.xml"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "");
}

TEST_F(CheckDisk, DirtyTopIsRepaired) {
  write(false, true);
  EXPECT_EQ(box_.ploop({"check", "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(box_.ploop({"check", "top.hdd"}).status, 0);
}

TEST_F(CheckDisk, DirtyLowerImageIsRepairedToo) {
  write(true, true);
  EXPECT_EQ(box_.ploop({"check", "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(box_.ploop({"check", "base.hdd"}).status, 0);
}

TEST_F(CheckDisk, ReadOnlyIsHonouredOtherOptionsAreNot) {
  write(false, true);
  const std::string before = slurp(box_ / "top.hdd");
  const ProcessResult read_only = box_.ploop({"check", "-r", "DiskDescriptor.xml"});
  EXPECT_EQ(read_only.status, 7);
  EXPECT_EQ(slurp(box_ / "top.hdd"), before);
  const ProcessResult forced = box_.ploop({"check", "-f", "DiskDescriptor.xml"});
  EXPECT_EQ(forced.status, 0);
  EXPECT_NE(forced.err.find("WARNING: options are ignored for DiskDescriptor.xml form\n"), std::string::npos)
      << forced.err;
}

TEST_F(CheckDisk, OnlyTheAskedChainIsLookedAt) {
  write(false, true);
  const std::string before = slurp(box_ / "top.hdd");
  EXPECT_EQ(box_.ploop({"check", "-u", kLower, "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(slurp(box_ / "top.hdd"), before);
  EXPECT_EQ(
      box_.ploop({"check", "-u", "{99999999-1111-1111-1111-111111111111}", "DiskDescriptor.xml"}).status, 39);
}

TEST_F(CheckDisk, DamagedImageKeepsItsStatus) {
  write(false, false);
  ImageBuilder top = sound();
  dirty(top);
  behind_end(top);
  top.write(box_ / "top.hdd");
  const std::string before = slurp(box_ / "top.hdd");
  EXPECT_EQ(box_.ploop({"check", "DiskDescriptor.xml"}).status, 11);
  EXPECT_EQ(slurp(box_ / "top.hdd"), before);
}

}  // namespace
}  // namespace ploop::test
