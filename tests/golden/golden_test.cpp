// Stored images against today's code: it makes the same bytes, reads the same content, refuses and repairs
// the same damage.
#include <gtest/gtest.h>

#include <map>

#include "golden_images.hpp"
#include "image/check.hpp"
#include "image/test_image.hpp"
#include "support.hpp"

namespace ploop::golden {
namespace {

using image::testing::bytes_of;
using image::testing::copy_of;

const image::CheckOptions kLook{.force = true, .check = true, .read_only = true};
const image::CheckOptions kRepair{.force = true, .hard_force = true, .check = true, .drop_in_use = true};

class Golden : public ::testing::TestWithParam<std::size_t> {
 protected:
  [[nodiscard]] static const GoldenImage& row() { return golden_images()[GetParam()]; }
  static ExitCode opens(const io::MemoryFile& file, bool writable) {
    const auto delta = image::Delta::open(
        copy_of(file), row().kind, {.allow_in_use = false, .writable = writable, .raw_cluster_sectors = 64});
    return delta ? ExitCode::Ok : delta.error().code;
  }
  static ExitCode exit_of(io::BlockFile& file, const image::CheckOptions& options) {
    const auto report = image::check_image(file, options);
    return report ? report->exit : report.error().code;
  }
};

TEST_P(Golden, StoredFileIsWhatTheCodeMakesToday) {
  const TemporaryDirectory directory;
  const std::string path = directory.file(row().name);
  const Status unpacked =
      unpack(std::string(PLOOP_SOURCE_DIR "/tests/golden/images/") + row().name + ".xz", path);
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  const auto stored = open_path(path, false);
  ASSERT_TRUE(stored);
  const auto made = row().make();
  EXPECT_TRUE(bytes_of(**stored) == bytes_of(*made));
}

TEST_P(Golden, OpensAndChecksAsListed) {
  const auto file = row().make();
  EXPECT_EQ(opens(*file, false), row().opens);
  EXPECT_EQ(opens(*file, true), row().writes);
  if (row().kind == image::Kind::Raw) return;
  const auto before = bytes_of(*file);
  EXPECT_EQ(exit_of(*file, kLook), row().check);
  EXPECT_TRUE(bytes_of(*file) == before);
  EXPECT_EQ(exit_of(*file, kRepair), row().repair);
  if (row().repair != ExitCode::Ok) {
    EXPECT_TRUE(bytes_of(*file) == before);
    return;
  }
  const auto repaired = bytes_of(*file);
  EXPECT_EQ(exit_of(*file, kLook), ExitCode::Ok);
  EXPECT_EQ(opens(*file, false), ExitCode::Ok);
  EXPECT_EQ(exit_of(*file, kRepair), ExitCode::Ok);
  EXPECT_TRUE(bytes_of(*file) == repaired);
}

TEST_P(Golden, ReadsAsListed) {
  if (row().guest.empty()) return;
  std::vector<image::Delta> deltas;
  deltas.push_back(*image::Delta::open(
      row().make(), row().kind, {.allow_in_use = false, .writable = false, .raw_cluster_sectors = 64}));
  EXPECT_EQ(*sha256_of_guest(*image::Stack::make(std::move(deltas))), row().guest);
}

INSTANTIATE_TEST_SUITE_P(Images, Golden, ::testing::Range(std::size_t{0}, golden_images().size()),
                         [](const auto& number) {
                           std::string name = golden_images()[number.param].name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(GoldenStacks, ReadAsListed) {
  std::map<std::string, const GoldenImage*> by_name;
  for (const GoldenImage& image : golden_images())
    by_name[image.name] = &image;
  for (const GoldenStack& stack : golden_stacks()) {
    std::vector<image::Delta> deltas;
    for (const std::string& name : stack.names) {
      const GoldenImage& image = *by_name.at(name);
      deltas.push_back(*image::Delta::open(
          image.make(), image.kind, {.allow_in_use = false, .writable = false, .raw_cluster_sectors = 64}));
    }
    const auto made = image::Stack::make(std::move(deltas));
    ASSERT_TRUE(made) << made.error().message();
    EXPECT_EQ(*sha256_of_guest(*made), stack.guest) << stack.names.back();
  }
}

TEST(GoldenFolder, HasNothingThatNoRowDescribes) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(PLOOP_SOURCE_DIR "/tests/golden/images")) {
    ++files;
    const std::string name = entry.path().stem();
    const bool listed = std::any_of(golden_images().begin(), golden_images().end(),
                                    [&](const GoldenImage& image) { return image.name == name; });
    EXPECT_TRUE(listed) << name;
  }
  EXPECT_EQ(files, golden_images().size());
}

}  // namespace
}  // namespace ploop::golden
