// The golden images through the real command: the same verdicts as the library's, files untouched or
// repaired.
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "golden_images.hpp"
#include "ploop.hpp"

namespace ploop::test {
namespace {

using golden::GoldenImage;

std::vector<GoldenImage> ploop1_images() {
  std::vector<GoldenImage> images;
  for (const GoldenImage& image : golden::golden_images()) {
    if (image.kind == image::Kind::Ploop1) images.push_back(image);
  }
  return images;
}

class GoldenFile : public testing::TestWithParam<GoldenImage> {
 protected:
  void SetUp() override {
    const auto file = GetParam().make();
    std::string bytes(static_cast<std::size_t>(file->size()), '\0');
    file->read(std::as_writable_bytes(std::span(bytes)), 0);
    write_text(path_, bytes);
    before_ = bytes;
  }
  int ploop(std::vector<std::string> args) {
    result_ = box_.ploop(std::move(args));
    return result_.status;
  }
  [[nodiscard]] bool untouched() const { return slurp(path_) == before_; }

  Sandbox box_;
  std::string path_ = box_ / "i.hdd";
  std::string before_;
  ProcessResult result_;
};

TEST_P(GoldenFile, ReadOnlyCheckSaysWhatIsWrongAndChangesNothing) {
  EXPECT_EQ(ploop({"check", "-f", "-c", "-r", "i.hdd"}), static_cast<int>(GetParam().check))
      << result_.out << result_.err;
  EXPECT_TRUE(untouched());
  if (GetParam().check != ExitCode::Ok) {
    EXPECT_NE(result_.out + result_.err, "");
  }
}

TEST_P(GoldenFile, OrdinaryCheckNeverTouchesADamagedImage) {
  const int status = ploop({"check", "-f", "-c", "i.hdd"});
  if (status != 0 && status != 37) {
    EXPECT_TRUE(untouched()) << result_.out << result_.err;
  }
}

TEST_P(GoldenFile, HardRepairLeavesAnImageThatChecksClean) {
  ASSERT_EQ(ploop({"check", "-F", "-c", "-d", "i.hdd"}), static_cast<int>(GetParam().repair))
      << result_.out << result_.err;
  if (GetParam().repair != ExitCode::Ok) {
    EXPECT_TRUE(untouched());
    return;
  }
  const std::string repaired = slurp(path_);
  EXPECT_EQ(ploop({"check", "-f", "-c", "i.hdd"}), 0) << result_.out << result_.err;
  EXPECT_EQ(slurp(path_), repaired) << "the second run finds nothing to do";
}

TEST_P(GoldenFile, RestoreDescriptorNeverTouchesTheImage) {
  const int status = ploop({"restore-descriptor", ".", "i.hdd"});
  EXPECT_TRUE(status == 0 || status == 4) << status;
  EXPECT_EQ(exists(box_ / "DiskDescriptor.xml"), status == 0);
  EXPECT_TRUE(untouched());
}

INSTANTIATE_TEST_SUITE_P(Cli, GoldenFile, testing::ValuesIn(ploop1_images()), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace ploop::test
