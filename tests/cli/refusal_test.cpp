// What has to be refused before anything is attached, whoever asks: hostile descriptors, damaged images,
// wrong requests.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

namespace stdfs = std::filesystem;
const std::string kTop = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const std::string kNone = "{00000000-0000-0000-0000-000000000000}";
const std::string kA = "{aaaaaaaa-1111-1111-1111-111111111111}";

std::string one_image(const std::string& file) {
  return descriptor_text(20480, 64, {{kTop, kNone, file}});
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  return at == std::string::npos ? text + "NOTHING REPLACED" : text.replace(at, what.size(), by);
}

std::string entity_bomb() {
  return replaced(
      one_image("&a;"), "<Parallels_disk_image>",
      "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;\">]><Parallels_disk_image>");
}

struct HostileRow {
  const char* name;
  std::string xml;
  int status;
};
void PrintTo(const HostileRow& row, std::ostream* out) {
  *out << row.name;
}

class HostileDescriptor : public testing::TestWithParam<HostileRow> {};

/// Everything in the folder, so that a change is seen.
std::string contents(const Sandbox& box) {
  std::string all;
  for (const char* name : {"DiskDescriptor.xml", "i.hdd", "d/i.hdd"}) {
    if (exists(box / name)) all += slurp(box / name);
  }
  return all;
}

TEST_P(HostileDescriptor, IsRefusedByMountAndCheckWithOneLine) {
  const HostileRow& row = GetParam();
  const Sandbox box;
  stdfs::create_directory(box / "d");
  ImageBuilder image(20480, 64);
  image.header.in_use = format::kInUseMark;  // an image that would be repaired if it were let through
  image.write(box / "i.hdd");
  image.write(box / "d/i.hdd");
  stdfs::create_symlink(box / "i.hdd", box / "d/link.hdd");
  stdfs::create_symlink(box.dir().path(), box / "d/up");
  write_text(box / "d/DiskDescriptor.xml", row.xml);
  const std::string before = contents(box);
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"mount", "d/DiskDescriptor.xml"}, {"check", "d/DiskDescriptor.xml"}}) {
    const ProcessResult result = box.ploop(args);
    EXPECT_EQ(result.status, row.status) << args.front() << ": " << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(contents(box), before) << "nothing was repaired";
}

INSTANTIATE_TEST_SUITE_P(
    Cli, HostileDescriptor,
    testing::Values(
        HostileRow{"dot_dot", one_image("../i.hdd"), 39},
        HostileRow{"absolute", one_image("/etc/passwd"), 39},
        HostileRow{"symlink", one_image("link.hdd"), 39},
        HostileRow{"symlinked_directory", one_image("up/i.hdd"), 39},
        HostileRow{"entity_bomb", entity_bomb(), 23},
        HostileRow{"size_2_63",
                   replaced(one_image("i.hdd"), "<Disk_size>20480<", "<Disk_size>18014398509481984<"), 23},
        HostileRow{"size_garbage", replaced(one_image("i.hdd"), "<Disk_size>20480<", "<Disk_size>20480x<"),
                   23},
        HostileRow{"cluster_3", replaced(one_image("i.hdd"), "<Blocksize>64<", "<Blocksize>3<"), 23},
        HostileRow{"no_top", replaced(one_image("i.hdd"), "<TopGUID>" + kTop, "<TopGUID>" + kA), 23},
        HostileRow{"cycle", descriptor_text(20480, 64, {{kTop, kA, "i.hdd"}, {kA, kTop, "j.hdd"}}), 23},
        HostileRow{"cut_off", one_image("i.hdd").substr(0, 300), 23}, HostileRow{"empty", "", 23},
        HostileRow{"binary", std::string(5000, '\0'), 23}),
    [](const auto& test) { return test.param.name; });

TEST(Mount, RefusesBeforeItAttaches) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  write_text(box / "file", "");
  struct Row {
    std::vector<std::string> args;
    int status;
    std::string err;
  };
  const std::vector<Row> rows = {
      {{"mount", "missing.xml"}, 39, "Can't resolve missing.xml: No such file or directory\n"},
      {{"mount", "-u", kA, "DiskDescriptor.xml"}, 43, "Uuid " + kA + " not found\n"},
      {{"mount", "-u", "base", "DiskDescriptor.xml"}, 38, "Incorrect uuid specified: base\n"},
      {{"mount", "-m", "nowhere", "DiskDescriptor.xml"},
       38,
       "Failed to stat mount point nowhere: No such file or directory\n"},
      {{"mount", "-m", "file", "DiskDescriptor.xml"}, 38, "Mount point file not a directory\n"},
      {{"mount", "-d", "/dev/sda", "DiskDescriptor.xml"},
       38,
       "Invalid device /dev/sda: give it as /dev/ploopN\n"},
      {{"mount", "-c", std::string(64, 'x'), "DiskDescriptor.xml"},
       38,
       "Component name too long: " + std::string(64, 'x') + "\n"},
      {{"mount", "-f", "raw", "i.hdd"}, 38, "Blocksize is not specified\n"},
      {{"mount", "missing.hdd"}, 4, "Can't resolve missing.hdd: No such file or directory\n"},
  };
  for (const Row& row : rows) {
    const ProcessResult result = box.ploop(row.args);
    EXPECT_EQ(result.status, row.status) << row.err;
    EXPECT_EQ(result.err, row.err);
    EXPECT_EQ(result.out, "");
  }
  EXPECT_EQ(box.ploop({"list"}).out, "");
}

TEST(Mount, NodeWithChildrenNeedsReadOnly) {
  const Sandbox box;
  ImageBuilder(20480, 64).write(box / "base.hdd");
  ImageBuilder(20480, 64).write(box / "top.hdd");
  write_text(box / "DiskDescriptor.xml",
             descriptor_text(20480, 64, {{kA, kNone, "base.hdd"}, {kTop, kA, "top.hdd"}}));
  const ProcessResult result = box.ploop({"mount", "-u", kA, "DiskDescriptor.xml"});
  EXPECT_EQ(result.status, 38);
  EXPECT_EQ(result.err, "Unable to mount (rw) snapshot " + kA + ": it has 1 child\n");
}

TEST(Mount, ListFormRefusesUnsoundImagesUntouched) {
  struct Row {
    const char* name;
    void (*damage)(ImageBuilder&);
    int status;
  };
  const std::vector<Row> rows = {
      {"dirty", [](ImageBuilder& i) { i.header.in_use = format::kInUseMark; }, 37},
      {"signature", [](ImageBuilder& i) { i.signature = "NotAnImageAtAll!"; }, 11},
  };
  for (const Row& row : rows) {
    const Sandbox box;
    ImageBuilder image(20480, 64);
    row.damage(image);
    image.write(box / "i.hdd");
    const std::string before = slurp(box / "i.hdd");
    const ProcessResult result = box.ploop({"mount", "i.hdd"});
    EXPECT_EQ(result.status, row.status) << row.name << ": " << result.err;
    EXPECT_EQ(slurp(box / "i.hdd"), before) << row.name;
  }
}

TEST(Mount, MissingImageOfADescriptorIsOpen) {
  const Sandbox box;
  write_text(box / "DiskDescriptor.xml", one_image("gone.hdd"));
  EXPECT_EQ(box.ploop({"mount", "DiskDescriptor.xml"}).status, 4);
}

TEST(Mount, EncryptedFileSystemIsNotMounted) {
  const Sandbox box;
  ImageBuilder(20480, 64).write(box / "i.hdd");
  stdfs::create_directory(box / "mnt");
  write_text(box / "DiskDescriptor.xml",
             replaced(one_image("i.hdd"), "<Padding>0</Padding>",
                      "<Padding>0</Padding>\n    <Encryption><KeyId>k1</KeyId></Encryption>"));
  EXPECT_EQ(box.ploop({"mount", "-m", "mnt", "DiskDescriptor.xml"}).status, 45);
}

}  // namespace
}  // namespace ploop::test
