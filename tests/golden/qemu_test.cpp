// Against qemu-img, an independent program for the same format: what we write it finds sound and reads the
// same, what it writes we read the same and may write. Skipped where it is not installed.
#include <gtest/gtest.h>

#include <fstream>

#include "base/subprocess.hpp"
#include "golden_images.hpp"
#include "image/check.hpp"
#include "image/create.hpp"
#include "image/test_image.hpp"
#include "support.hpp"

namespace ploop::golden {
namespace {

using image::Delta;
using image::Kind;

class Qemu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!find_program("qemu-img")) GTEST_SKIP() << "qemu-img is not installed";
  }
  static RunResult qemu(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "qemu-img");
    const auto result = run_program(arguments);
    return result ? *result : RunResult{-1, result.error().message()};
  }
  void store(const std::string& path, io::BlockFile& file) {
    const auto bytes = image::testing::bytes_of(file);
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  /// Hash of what qemu-img reads.
  std::string converted(const std::string& path) {
    const RunResult run = qemu({"convert", "-f", "parallels", "-O", "raw", path, path + ".raw"});
    return run.status == 0 ? *sha256_of_file(path + ".raw") : run.output;
  }
  static Result<std::string> our_reading(const std::string& path) {
    std::vector<Delta> deltas;
    auto file = TRY(open_path(path, true));
    deltas.push_back(TRY(Delta::open(std::move(file), Kind::Ploop1, {.writable = true})));
    const image::Stack stack = TRY(image::Stack::make(std::move(deltas)));
    return sha256_of_guest(stack);
  }
  TemporaryDirectory directory_;
};

TEST_F(Qemu, FindsOurImagesSoundAndReadsThemAsWeDo) {
  int compared = 0;
  for (const GoldenImage& image : golden_images()) {
    if (image.kind == Kind::Raw || image.opens != ExitCode::Ok || image.writes != ExitCode::Ok ||
        image.check != ExitCode::Ok)
      continue;
    // Stale by our rules; this program looks at it anyway and gives up.
    if (image.name.find("extension") != std::string::npos) continue;
    const std::string path = directory_.file(image.name);
    const auto file = image.make();
    store(path, *file);
    const RunResult check = qemu({"check", "-f", "parallels", path});
    // What is behind the last cluster it calls a leak, which is status 3.
    if (image.name != "odd-tail") {
      EXPECT_EQ(check.status, 0) << image.name << ": " << check.output;
    }
    EXPECT_EQ(converted(path), image.guest) << image.name;
    ++compared;
  }
  EXPECT_GE(compared, 12);
}

TEST_F(Qemu, ImagesItCreatesOpenForWriting) {
  const std::string path = directory_.file("created");
  ASSERT_EQ(qemu({"create", "-q", "-f", "parallels", path, "64M"}).status, 0);
  const auto delta = Delta::open(*open_path(path, true), Kind::Ploop1,
                                 {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
  ASSERT_TRUE(delta) << delta.error().message();
  EXPECT_EQ(delta->size_sectors(), 131072u);
  EXPECT_EQ(delta->header().version, format::Version::V2);
  EXPECT_EQ(image::check_file(path, {.force = true, .check = true})->exit, ExitCode::Ok);
}

TEST_F(Qemu, ImagesItConvertsReadTheSame) {
  for (const std::uint64_t bytes : {std::uint64_t{20 * kMiB}, std::uint64_t{3 * kMiB}}) {
    const std::string raw = directory_.file("raw");
    std::ofstream out(raw, std::ios::binary | std::ios::trunc);
    for (std::uint64_t piece = 0; piece < bytes; piece += 32768) {
      // Stretches of zeros in between, which it leaves out.
      auto data = image::testing::pattern(0x71, static_cast<std::uint32_t>(piece / 32768), 32768);
      if (piece / kMiB % 3 == 1) std::fill(data.begin(), data.end(), std::byte{0});
      out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
    }
    out.close();
    const std::string path = directory_.file("converted" + std::to_string(bytes));
    ASSERT_EQ(qemu({"convert", "-f", "raw", "-O", "parallels", raw, path}).status, 0);
    const auto reading = our_reading(path);
    ASSERT_TRUE(reading) << reading.error().message();
    EXPECT_EQ(*reading, *sha256_of_file(raw));
    EXPECT_EQ(image::check_file(path, {.force = true, .check = true})->exit, ExitCode::Ok);
  }
}

TEST_F(Qemu, UnalignedSizesItCreatesCanOnlyBeRead) {
  const std::string path = directory_.file("unaligned");
  ASSERT_EQ(qemu({"create", "-q", "-f", "parallels", path, "10486272"}).status, 0);
  EXPECT_TRUE(Delta::open(*open_path(path, false), Kind::Ploop1, {}));
  EXPECT_EQ(our_reading(path).error().code, ExitCode::Format);
}

/// Damage that both programs know: ours repairs it so that the other is content, and the data left is the
/// same.
TEST_F(Qemu, IsContentWithOurRepairs) {
  for (const GoldenImage& image : golden_images()) {
    if (image.kind == Kind::Raw || image.repair != ExitCode::Ok || image.opens == ExitCode::Ok) continue;
    const std::string path = directory_.file(image.name);
    const auto file = image.make();
    ASSERT_EQ(image::check_image(*file, {.hard_force = true, .check = true, .drop_in_use = true})->exit,
              ExitCode::Ok);
    store(path, *file);
    const RunResult check = qemu({"check", "-f", "parallels", path});
    EXPECT_EQ(check.status, 0) << image.name << ": " << check.output;
    const auto reading = our_reading(path);
    ASSERT_TRUE(reading) << reading.error().message();
    EXPECT_EQ(converted(path), *reading) << image.name;
  }
}

}  // namespace
}  // namespace ploop::golden
