// replace on stopped disks: what is refused, what is compared, which file is there afterwards.
#include <gtest/gtest.h>

#include <fstream>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

constexpr std::uint64_t kSize = 20480;  ///< 10 MiB
constexpr std::uint32_t kCluster = 64;
constexpr const char* kXml = "DiskDescriptor.xml";

/// A disk of a base and a top; root.copy is like the base with its clusters in another order, the others are
/// not.
class Replace : public testing::Test {
 protected:
  void SetUp() override {
    ImageBuilder base(kSize, kCluster);
    base.allocate(3).allocate(0).write(box / "root.hdd");
    ASSERT_EQ(box.ploop({"restore-descriptor", box.dir().path(), "root.hdd"}).status, 0);
    ASSERT_EQ(box.ploop({"snapshot", "-u", uuid, kXml}).status, 0);
    std::ofstream(box / "root.copy", std::ios::binary) << slurp(box / "root.hdd");
    change("other.data", 2 * kCluster * 512 + 77, "z");
    change("dirty", 44, "Ynot");
    change("beyond", 64 + 4 * 5, std::string("\x40\0\0\0", 4));
    ImageBuilder more(kSize, kCluster);
    more.allocate(3).allocate(0).allocate(1).write(box / "longer");
    ImageBuilder elsewhere(kSize, kCluster);
    elsewhere.allocate(3).allocate(1).write(box / "elsewhere");
    std::ofstream(box / "garbage") << std::string(slurp(box / "root.hdd").size(), 'x');
  }

  void change(const std::string& name, std::size_t at, const std::string& bytes) {
    std::string data = slurp(box / "root.hdd");
    data.replace(at, bytes.size(), bytes);
    std::ofstream(box / name, std::ios::binary) << data;
  }

  ProcessResult replace(std::vector<std::string> args) {
    args.insert(args.begin(), "replace");
    return box.ploop(args);
  }

  void refused(const std::vector<std::string>& args, int status, const std::string& says) {
    const std::string image = slurp(box / "root.hdd"), xml = slurp(box / kXml);
    const ProcessResult result = replace(args);
    EXPECT_EQ(result.status, status) << result.out << result.err;
    EXPECT_NE(result.err.find(says), std::string::npos) << result.err;
    EXPECT_EQ(slurp(box / "root.hdd"), image);
    EXPECT_EQ(slurp(box / kXml), xml);
  }

  Sandbox box;
  const std::string uuid = "{11111111-1111-1111-1111-111111111111}";
};

TEST_F(Replace, WrongWords) {
  refused({"-i", "root.copy", kXml}, 38, "either one of uuid (-u), level (-l) or current file (-o)");
  refused({"-u", uuid, "-o", "root.hdd", "-i", "root.copy", kXml}, 38, "either one of uuid");
  refused({"-u", uuid, kXml}, 38, "-i");
  refused({"-u", uuid, "-i", "root.copy"}, 38, "one descriptor");
  refused({"-d", "/dev/ploop0", "-m", "/mnt", "-l", "0", "-i", "root.copy"}, 38, "either -d or -m");
  refused({"-d", "/dev/ploop0", "-i", "root.copy"}, 38, "either one of level (-l) or current file (-o)");
  refused({"-d", "/dev/ploop0", "-l", "0", "-i", "root.copy"}, 2, "Can't open dev");
  refused({"-l", "0", "-i", "root.copy", kXml}, 38, "Can't specify level for offline replace");
  refused({"-u", uuid, "-i", "nosuch", kXml}, 38, "nosuch");
  refused({"-u", "{22222222-2222-2222-2222-222222222222}", "-i", "root.copy", kXml}, 38,
          "Can't find snapshot by uuid");
  refused({"-o", "nosuch", "-i", "root.copy", kXml}, 38, "Can't find image");
  refused({"-u", uuid, "-i", "root.hdd", kXml}, 38, "already");
}

TEST_F(Replace, AnotherImageIsRefused) {
  refused({"-u", uuid, "-i", "longer", kXml}, 11, "are of different size");
  refused({"-u", uuid, "-i", "garbage", kXml}, 11, "Wrong signature");
  refused({"-u", uuid, "-i", "dirty", kXml}, 37, "in use");
  refused({"-u", uuid, "-i", "beyond", kXml}, 11, "beyond EOF");
  refused({"-u", uuid, "-i", "elsewhere", kXml}, 11, "in one of them only");
  refused({"-u", uuid, "-i", "other.data", kXml}, 11, "different data");
}

TEST_F(Replace, TheDescriptorNamesTheNewFileAndTheOldOneStays) {
  const ProcessResult result = replace({"-o", "root.hdd", "-i", "root.copy", kXml});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_NE(slurp(box / kXml).find("<File>root.copy</File>"), std::string::npos);
  EXPECT_TRUE(exists(box / "root.hdd"));
  EXPECT_EQ(box.ploop({"check", kXml}).status, 0);
  EXPECT_FALSE(exists(box / "DiskDescriptor.xml.tmp"));
}

TEST_F(Replace, KeepNameGivesTheNewFileTheOldName) {
  const std::string xml = slurp(box / kXml);
  // Not compared: to tell the files apart.
  const ProcessResult result = replace({"-u", uuid, "-k", "--no-compare", "-i", "other.data", kXml});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(slurp(box / kXml), xml);
  EXPECT_FALSE(exists(box / "other.data"));
  EXPECT_EQ(slurp(box / "root.hdd")[2 * kCluster * 512 + 77], 'z');
}

}  // namespace
}  // namespace ploop::test
