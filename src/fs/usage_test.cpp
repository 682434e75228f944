#include "fs/usage.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "fs/test_support.hpp"

namespace ploop::fs {
namespace {

constexpr Usage kUsage{4096, 1000, 900, 500, 489};

class UsageCache : public testing::Test {
 protected:
  void write_raw(const std::string& bytes) const {
    std::ofstream(usage_cache_path(scratch_.path()), std::ios::binary) << bytes;
  }
  static std::string record(const Usage& u) {
    const std::uint64_t numbers[] = {u.block_size, u.blocks, u.free_blocks, u.inodes, u.free_inodes};
    std::string bytes(sizeof numbers, '\0');
    std::memcpy(bytes.data(), numbers, sizeof numbers);
    return bytes;
  }
  ScratchDirectory scratch_;
};

TEST_F(UsageCache, ReturnsWhatWasStored) {
  ASSERT_TRUE(store_usage_cache(scratch_.path(), kUsage));
  const auto loaded = load_usage_cache(scratch_.path());
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded->value(), kUsage);
}

TEST_F(UsageCache, IsFiveNumbersForRootOnly) {
  ASSERT_TRUE(store_usage_cache(scratch_.path(), kUsage));
  struct stat st {};
  ASSERT_EQ(::stat(scratch_.path(".statfs").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 40);
  EXPECT_EQ(st.st_mode & 07777, 0600U);
  std::ifstream file(scratch_.path(".statfs"), std::ios::binary);
  std::string bytes(40, '\0');
  file.read(bytes.data(), 40);
  EXPECT_EQ(bytes, record(kUsage));
}

TEST_F(UsageCache, MissingIsNothing) {
  EXPECT_FALSE(load_usage_cache(scratch_.path())->has_value());
}

TEST_F(UsageCache, NonsenseIsNothing) {
  const std::string good = record(kUsage);
  for (const std::string& bytes :
       {std::string(), good.substr(0, 39), good + "x", record({0, 1, 1, 1, 1}), record({4096, 1, 2, 1, 1}),
        record({4096, 1, 1, 1, 2}), record({4096, UINT64_MAX, 1, 1, 1})}) {
    write_raw(bytes);
    const auto loaded = load_usage_cache(scratch_.path());
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_FALSE(loaded->has_value()) << bytes.size();
  }
}

TEST_F(UsageCache, SymbolicLinkIsNotFollowed) {
  std::ofstream(scratch_.path("elsewhere"), std::ios::binary) << record(kUsage);
  std::filesystem::create_symlink("elsewhere", scratch_.path(".statfs"));
  EXPECT_FALSE(load_usage_cache(scratch_.path())->has_value());
}

TEST_F(UsageCache, RemovingTwiceIsFine) {
  ASSERT_TRUE(store_usage_cache(scratch_.path(), kUsage));
  EXPECT_TRUE(remove_usage_cache(scratch_.path()));
  EXPECT_FALSE(std::filesystem::exists(scratch_.path(".statfs")));
  EXPECT_TRUE(remove_usage_cache(scratch_.path()));
}

TEST(LiveUsage, OfTheRootFileSystemMakesSense) {
  const auto usage = read_usage("/");
  ASSERT_TRUE(usage) << usage.error().message();
  EXPECT_GT(usage->block_size, 0U);
  EXPECT_LE(usage->free_blocks, usage->blocks);
  EXPECT_EQ(read_usage("/nonexistent").error().code, ExitCode::Stat);
}

}  // namespace
}  // namespace ploop::fs
