// init without a file system: files, texts, and that it never harms what exists.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "ploop.hpp"

namespace ploop::test {
namespace {

namespace stdfs = std::filesystem;

std::vector<std::string> files_of(const Sandbox& box) {
  std::vector<std::string> names;
  for (const auto& entry : stdfs::directory_iterator(box.dir().path()))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}
using Names = std::vector<std::string>;

std::uint64_t number_at(const std::string& bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;)
    value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return value;
}

struct InitRow {
  const char* name;
  std::vector<std::string> options;
  std::string first_line;
  std::uint64_t file_bytes;
  std::uint64_t size_sectors;
  std::uint64_t cluster_sectors;
  int version;  ///< 0: raw
};
void PrintTo(const InitRow& row, std::ostream* out) {
  *out << row.name;
}

class InitMakes : public testing::TestWithParam<InitRow> {};

TEST_P(InitMakes, AnImageAndItsDescriptor) {
  const InitRow& row = GetParam();
  const Sandbox box;
  std::vector<std::string> args = {"init", "-t", "none"};
  args.insert(args.end(), row.options.begin(), row.options.end());
  args.emplace_back("root.hdd");
  const ProcessResult result = box.ploop(args);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(result.out.starts_with(row.first_line + "\n")) << result.out;
  EXPECT_EQ(files_of(box), (Names{"DiskDescriptor.xml", "DiskDescriptor.xml.lck", "root.hdd"}));
  struct stat info {};
  ASSERT_EQ(::stat((box / "root.hdd").c_str(), &info), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(info.st_size), row.file_bytes);
  EXPECT_EQ(info.st_mode & 07777u, 0600u);
  if (row.version != 0) {
    const std::string bytes = slurp(box / "root.hdd");
    EXPECT_EQ(bytes.substr(0, 16), row.version == 2 ? "WithouFreSpacExt" : "WithoutFreeSpace");
    EXPECT_EQ(number_at(bytes, 28, 4), row.cluster_sectors);
    EXPECT_EQ(number_at(bytes, 36, 8), row.size_sectors) << "where libvirt looks";
  }
  const ProcessResult facts = box.ploop({"info", "-s", "DiskDescriptor.xml"});
  EXPECT_EQ(facts.out, "size:\t\t" + std::to_string(row.size_sectors) + "\nblocksize:\t" +
                           std::to_string(row.cluster_sectors) + "\nfmt_version:\t" +
                           std::to_string(row.version) + "\n");
  EXPECT_EQ(box.ploop({"check", "DiskDescriptor.xml"}).status, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Cli, InitMakes,
    testing::Values(InitRow{"plain",
                            {"-s", "1g"},
                            "Creating delta root.hdd bs=2048 size=2097152 sectors v2",
                            1 << 20,
                            2097152,
                            2048,
                            2},
                    InitRow{"v1",
                            {"-s1g", "-v1"},
                            "Creating delta root.hdd bs=2048 size=2097152 sectors v1",
                            1 << 20,
                            2097152,
                            2048,
                            1},
                    InitRow{"small_clusters",
                            {"-s", "64m", "-b", "64"},
                            "Creating delta root.hdd bs=64 size=131072 sectors v2",
                            1 << 15,
                            131072,
                            64,
                            2},
                    InitRow{"largest_clusters",
                            {"-s", "1g", "-b", "131072"},
                            "Creating delta root.hdd bs=131072 size=2097152 sectors v2",
                            64 << 20,
                            2097152,
                            131072,
                            2},
                    InitRow{"rounded_up",
                            {"-s", "1025k"},
                            "Creating delta root.hdd bs=2048 size=4096 sectors v2",
                            1 << 20,
                            4096,
                            2048,
                            2},
                    InitRow{"preallocated",
                            {"-s", "3m", "-f", "preallocated"},
                            "Creating preallocated delta root.hdd bs=2048 size=6144 sectors v2",
                            4 << 20,
                            6144,
                            2048,
                            2},
                    InitRow{"raw",
                            {"-s", "3m", "-f", "raw"},
                            "Creating raw delta root.hdd size=6144 sectors",
                            3 << 20,
                            6144,
                            2048,
                            0}),
    [](const auto& test) { return test.param.name; });

TEST(Init, SizesNearTheLimitAreRoundedDown) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"init", "-t", "none", "-v", "1", "-s", "4294967295", "i.hdd"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(result.out.starts_with("Creating delta i.hdd bs=2048 size=4294965248 sectors v1\n"))
      << result.out;
}

TEST(Init, TooLargeIsRefusedInTheHistoricalWords) {
  const Sandbox box;
  const ProcessResult v1 = box.ploop({"init", "-t", "none", "-v", "1", "-s", "3T", "i.hdd"});
  EXPECT_EQ(v1.status, 38);
  EXPECT_TRUE(v1.err.starts_with(
      "An incorrect block device size is specified: 6442450944 sectors. The maximum allowed size is "))
      << v1.err;
  const ProcessResult with_fs = box.ploop({"init", "-s", "17T", "i.hdd"});
  EXPECT_EQ(with_fs.status, 38);
  EXPECT_NE(with_fs.err.find("The maximum allowed size is 34359738368 sectors"), std::string::npos)
      << with_fs.err;
  EXPECT_EQ(files_of(box), Names{}) << "nothing is left behind";
}

TEST(Init, TooSmallForAPartitionLeavesNothing) {
  const Sandbox box;
  EXPECT_EQ(box.ploop({"init", "-s", "2m", "i.hdd"}).status, 38);
  EXPECT_EQ(files_of(box), Names{});
}

TEST(Init, ZeroSizeLeavesNothing) {
  const Sandbox box;
  EXPECT_EQ(box.ploop({"init", "-s", "0M", "-t", "ext4", "root.hds"}).status, 38);
  EXPECT_EQ(files_of(box), Names{});
}

TEST(Init, NeverTouchesAnExistingImage) {
  const Sandbox box;
  write_text(box / "root.hdd", "somebody's data");
  const ProcessResult result = box.ploop({"init", "-s", "10m", "-t", "none", "root.hdd"});
  EXPECT_EQ(result.status, 38);
  EXPECT_EQ(result.err, "Can't create root.hdd: File exists\n");
  EXPECT_EQ(slurp(box / "root.hdd"), "somebody's data");
  EXPECT_EQ(files_of(box), Names{"root.hdd"});
}

TEST(Init, NeverFollowsASymbolicLink) {
  const Sandbox box;
  stdfs::create_symlink(box / "elsewhere", box / "root.hdd");
  EXPECT_EQ(box.ploop({"init", "-s", "10m", "-t", "none", "root.hdd"}).status, 38);
  EXPECT_EQ(files_of(box), Names{"root.hdd"});
}

TEST(Init, RefusesADirectoryThatHasADescriptor) {
  const Sandbox box;
  write_text(box / "DiskDescriptor.xml", "<x/>");
  const ProcessResult result = box.ploop({"init", "-s", "10m", "-t", "none", box / "other.hdd"});
  EXPECT_EQ(result.status, 38);
  EXPECT_EQ(result.err, "Can't create " + (box / "DiskDescriptor.xml") + ": File exists\n");
  EXPECT_EQ(files_of(box), Names{"DiskDescriptor.xml"});
  EXPECT_EQ(slurp(box / "DiskDescriptor.xml"), "<x/>");
}

TEST(Init, RefusesNamesThatCannotBeImages) {
  const Sandbox box;
  for (const char* name : {"disk.xml", ".", "..", "dir/"}) {
    EXPECT_NE(box.ploop({"init", "-s", "10m", "-t", "none", name}).status, 0) << name;
  }
  EXPECT_EQ(files_of(box), Names{});
}

TEST(Init, MissingDirectoryIsOneClearLine) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"init", "-s", "10m", "-t", "none", "no/where.hdd"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("No such file or directory"), std::string::npos) << result.err;
}

TEST(Init, ClearsWhatAKilledInitLeft) {
  const Sandbox box;
  write_text(box / ".root.hdd.ploop-init", "half an image");
  ASSERT_EQ(box.ploop({"init", "-s", "10m", "-t", "none", "root.hdd"}).status, 0);
  EXPECT_EQ(files_of(box), (Names{"DiskDescriptor.xml", "DiskDescriptor.xml.lck", "root.hdd"}));
}

TEST(Init, SecondNameOfAKilledInitGoesWithTheNextCommand) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s", "10m", "-t", "none", "root.hdd"}).status, 0);
  stdfs::create_hard_link(box / "root.hdd", box / ".root.hdd.ploop-init");
  ASSERT_EQ(box.ploop({"check", "DiskDescriptor.xml"}).status, 0);
  EXPECT_EQ(files_of(box), (Names{"DiskDescriptor.xml", "DiskDescriptor.xml.lck", "root.hdd"}));
  write_text(box / ".root.hdd.ploop-init", "somebody else's");
  ASSERT_EQ(box.ploop({"check", "DiskDescriptor.xml"}).status, 0);
  EXPECT_TRUE(exists(box / ".root.hdd.ploop-init"));
}

TEST(Init, ImageInASubdirectoryGetsItsDescriptorThere) {
  const Sandbox box;
  stdfs::create_directory(box / "v");
  stdfs::permissions(box / "v", stdfs::perms::owner_all);
  const ProcessResult result = box.ploop({"init", "-s", "10m", "-t", "none", "v/root.hds"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("Storing v/DiskDescriptor.xml\n"), std::string::npos) << result.out;
  const std::string text = slurp(box / "v/DiskDescriptor.xml");
  EXPECT_NE(text.find("<File>root.hds</File>"), std::string::npos)
      << "relative, so that the directory can be copied";
}

TEST(Init, FileSystemThatCannotBeMadeLeavesNothing) {
  const Sandbox box;
  // No daemon at this place, so attaching fails after the image exists.
  const ProcessResult result =
      box.ploop({"init", "-s", "300m", "root.hdd"}, {.environment = {{"PLOOP_LIBEXEC", box / "nowhere"}}});
  EXPECT_EQ(result.status, 12) << result.err;
  EXPECT_EQ(files_of(box), Names{});
}

TEST(Init, OfflineWorkNeedsNoSightOfTheDevices) {
  const Sandbox box;
  stdfs::create_directory(box / "run");
  if (::geteuid() == 0) {
    // As somebody for whom the runtime directory is closed.
    stdfs::permissions(box / "run", stdfs::perms::owner_all);
    stdfs::permissions(box.dir().path(), stdfs::perms::all);
    const auto as_nobody = [&](std::vector<std::string> args) {
      args.insert(args.begin(),
                  {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PLOOP_BINARY});
      return run(args, {.directory = box.dir().path(), .environment = {{"PLOOP_RUNDIR", box / "run"}}});
    };
    if (as_nobody({"--version"}).status != 0) GTEST_SKIP() << "the program is out of reach for another user";
    EXPECT_EQ(as_nobody({"init", "-s", "10m", "-t", "none", "root.hdd"}).status, 0);
    EXPECT_EQ(as_nobody({"info", "-s", "DiskDescriptor.xml"}).status, 0);
    EXPECT_EQ(as_nobody({"check", "-f", "root.hdd"}).status, 0);
    EXPECT_EQ(as_nobody({"check", "DiskDescriptor.xml"}).status, 0);
    EXPECT_EQ(as_nobody({"info", "-d", "DiskDescriptor.xml"}).status, 9)
        << "must not claim that it is not attached";
  } else {
    GTEST_SKIP() << "needs root, to become somebody else";
  }
}

TEST(Init, WaitsForTheLockOfAnotherCommand) {
  const Sandbox box;
  // flock(1) holds the lock for a second; init has to be done after that, not before and not never.
  const ProcessResult result =
      run({"/bin/sh", "-c",
           "cd '" + box.dir().path() +
               "' && { flock 9; sleep 0.7; touch released; } 9>DiskDescriptor.xml.lck & sleep 0.2; "
               "'" PLOOP_BINARY "' init -s 10m -t none '" +
               (box / "root.hdd") + "'; s=$?; test -e '" + (box / "released") + "' && exit $s; exit 99"});
  EXPECT_EQ(result.status, 0) << result.err;
}

}  // namespace
}  // namespace ploop::test
