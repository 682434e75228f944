#include "image/create.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "image/check.hpp"
#include "image/test_image.hpp"
#include "io/fault_file.hpp"
#include "io/posix_file.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using format::Version;

/// A directory that goes away with the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "ploop-image-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }
  [[nodiscard]] bool empty() const { return std::filesystem::is_empty(path_); }

 private:
  std::filesystem::path path_;
};

TEST(NewImage, ExpandedIsHeaderAndZerosOnly) {
  for (const Version version : {Version::V1, Version::V2}) {
    io::MemoryFile file("new");
    const auto result =
        write_new_image(file, {.version = version, .size_sectors = 2097152, .cluster_sectors = 64});
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_TRUE(result->warning.empty());
    EXPECT_EQ(file.size(), 5 * 32768);
    EXPECT_GE(file.sync_count(), 1u);
    auto bytes = bytes_of(file);
    const auto header = format::encode_header(*format::make_header(2097152, 64, version));
    EXPECT_TRUE(std::equal(header.begin(), header.end(), bytes.begin()));
    EXPECT_TRUE(std::all_of(bytes.begin() + 64, bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_TRUE(open_copy(file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64}));
  }
}

TEST(NewImage, PreallocatedFillsEverySlotInOrder) {
  for (const Version version : {Version::V1, Version::V2}) {
    io::MemoryFile file("new");
    const auto result = write_new_image(file, {.format = CreateFormat::Preallocated,
                                               .version = version,
                                               .size_sectors = 9000 * 64 - 5,
                                               .cluster_sectors = 64});
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(file.size(), (2 + 9000) * 32768);
    EXPECT_EQ(result->header.flags, format::kFlagEmpty);
    const auto delta = open_copy(file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
    ASSERT_TRUE(delta) << delta.error().message();
    for (std::uint32_t n = 0; n < 9000; ++n)
      ASSERT_EQ(delta->table()[n], n + 2);
    const auto report = check_image(file, {.force = true, .check = true, .read_only = true});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->exit, ExitCode::Write);  // the empty flag, which the original sets here as well
  }
}

TEST(NewImage, PreallocatedWithoutReservationIsSparseAndSaysSo) {
  io::MemoryFile file("new", {.can_allocate = false});
  const auto result = write_new_image(
      file, {.format = CreateFormat::Preallocated, .size_sectors = 100 * 64, .cluster_sectors = 64});
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->warning.empty());
  EXPECT_EQ(file.size(), 101 * 32768);
  EXPECT_LT(file.allocated_bytes(), 65536u);
}

TEST(NewImage, PreallocatedThatOverflowsVersionOneIsRefused) {
  io::MemoryFile file("new");
  const auto result = write_new_image(file, {.format = CreateFormat::Preallocated,
                                             .version = Version::V1,
                                             .size_sectors = 0xFFFFFFFF,
                                             .cluster_sectors = 2048});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ExitCode::Param);
}

TEST(NewImage, RawReservesItsExactSize) {
  for (const bool can_allocate : {true, false}) {
    io::MemoryFile file("new", {.can_allocate = can_allocate});
    const auto result = write_new_image(
        file, {.format = CreateFormat::Raw, .size_sectors = 100 * 64 - 1, .cluster_sectors = 64});
    ASSERT_TRUE(result);
    EXPECT_EQ(file.size(), 100 * 32768);
    EXPECT_EQ(file.allocated_bytes(), 100u * 32768);
    const auto bytes = bytes_of(file);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_EQ(result->header.size_sectors, 6400u);
  }
}

TEST(NewImage, WrongOptionsAreRefusedBeforeAnythingIsWritten) {
  for (const CreateOptions& bad :
       {CreateOptions{.size_sectors = 0}, CreateOptions{.size_sectors = 2048, .cluster_sectors = 63},
        CreateOptions{.version = Version::V1, .size_sectors = 1ull << 32},
        CreateOptions{.format = CreateFormat::Raw, .size_sectors = 1ull << 62}}) {
    io::MemoryFile file("new");
    const auto result = write_new_image(file, bad);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ExitCode::Param);
    EXPECT_EQ(file.size(), 0);
  }
}

TEST(CreateImage, IsExclusiveAndPrivate) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("root.hdd");
  ASSERT_TRUE(create_image(path, {.size_sectors = 2097152}));
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 1 << 20);
  EXPECT_EQ(st.st_mode & 07777, 0600u);

  std::ofstream(path) << "precious";
  const auto again = create_image(path, {.size_sectors = 2097152});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ExitCode::Param);
  EXPECT_EQ(again.error().message(), "Can't create " + path + ": File exists");
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "precious");
}

TEST(CreateImage, DanglingLinkIsNotFollowed) {
  const TemporaryDirectory directory;
  std::filesystem::create_symlink(directory.file("elsewhere"), directory.file("link"));
  EXPECT_FALSE(create_image(directory.file("link"), {.size_sectors = 2097152}));
  EXPECT_FALSE(std::filesystem::exists(directory.file("elsewhere")));
}

TEST(CreateImage, LeavesNothingBehindWhenItFailsOrIsCancelled) {
  const TemporaryDirectory directory;
  const auto wrong = create_image(directory.file("a"), {.size_sectors = 0});
  EXPECT_EQ(wrong.error().code, ExitCode::Param);
  EXPECT_TRUE(directory.empty());
  for (const CreateFormat format : {CreateFormat::Expanded, CreateFormat::Preallocated, CreateFormat::Raw}) {
    int asked = 0;
    const auto cancelled = create_image(
        directory.file("b"),
        {.format = format, .size_sectors = 204800, .cancelled = [&asked] { return ++asked > 0; }});
    ASSERT_FALSE(cancelled);
    EXPECT_EQ(cancelled.error().code, ExitCode::Create);
    EXPECT_TRUE(directory.empty());
  }
  EXPECT_EQ(create_image(directory.file("missing/b"), {.size_sectors = 2048}).error().code, ExitCode::Create);
}

TEST(CreateImage, EveryFailingCallIsReported) {
  for (const io::OpKind kind : {io::OpKind::Write, io::OpKind::Sync, io::OpKind::Allocate}) {
    for (const CreateFormat format :
         {CreateFormat::Expanded, CreateFormat::Preallocated, CreateFormat::Raw}) {
      if (format == CreateFormat::Raw && kind == io::OpKind::Write) continue;  // reserving needs no write
      io::FaultPlan plan;
      plan.add({.kind = kind, .error = ENOSPC});
      io::FaultFile file(std::make_unique<io::MemoryFile>("new"), plan);
      const auto result =
          write_new_image(file, {.format = format, .size_sectors = 6400, .cluster_sectors = 64});
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, ExitCode::Create);
      EXPECT_EQ(result.error().message(), "Can't create new: No space left on device");
    }
  }
}

TEST(CreateImage, ProgressReachesTheTotal) {
  io::MemoryFile file("new", {.can_allocate = false});
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  ASSERT_TRUE(write_new_image(file, {.format = CreateFormat::Raw,
                                     .size_sectors = 20480,
                                     .progress = [&](std::uint64_t done, std::uint64_t all) {
                                       EXPECT_GE(done, last);
                                       last = done;
                                       total = all;
                                     }}));
  EXPECT_EQ(last, 20480u * 512);
  EXPECT_EQ(total, last);
}

}  // namespace
}  // namespace ploop::image
