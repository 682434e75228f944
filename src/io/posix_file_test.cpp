#include "io/posix_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "io/memory_file.hpp"

namespace ploop::io {
namespace {

class PosixFileTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ploop-posix-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    source_ = make("source");
    target_ = make("target");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::unique_ptr<PosixFile> make(const char* name) const {
    auto file = PosixFile::open(directory_ + "/" + name,
                                {.writable = true, .direct = false, .exclusive_create = true});
    EXPECT_TRUE(file);
    return *std::move(file);
  }
  static constexpr std::size_t kBytes = 1 << 20;
  std::string directory_;
  std::unique_ptr<PosixFile> source_;
  std::unique_ptr<PosixFile> target_;
};

TEST_F(PosixFileTest, BringsTheBytesToTheirPlace) {
  std::vector<std::byte> data(kBytes);
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<std::byte>(i * 7 + i / 4096);
  ASSERT_EQ(source_->write(data, 0), static_cast<std::int64_t>(kBytes));
  const int result = target_->copy(*source_, 4096, 3 * kBytes, kBytes - 4096);
  if (result == -EOPNOTSUPP) GTEST_SKIP() << "the kernel does not copy between files here";
  ASSERT_EQ(result, 0);
  std::vector<std::byte> back(kBytes - 4096);
  ASSERT_EQ(target_->read(back, 3 * kBytes), static_cast<std::int64_t>(back.size()));
  EXPECT_TRUE(std::equal(back.begin(), back.end(), data.begin() + 4096));
}

TEST_F(PosixFileTest, LeavesHolesAndForeignFilesToTheCaller) {
  const std::vector<std::byte> data(4096, std::byte{1});
  ASSERT_EQ(source_->write(data, 0), 4096);
  ASSERT_EQ(source_->truncate(kBytes), 0);
  EXPECT_EQ(target_->copy(*source_, 0, 0, kBytes), -EOPNOTSUPP) << "it would fill the hole";
  MemoryFile memory("memory");
  ASSERT_EQ(memory.write(data, 0), 4096);
  EXPECT_EQ(target_->copy(memory, 0, 0, 4096), -EOPNOTSUPP);
  EXPECT_EQ(target_->size(), 0) << "nothing was done";
}

TEST_F(PosixFileTest, ALockIsWaitedForAMoment) {
  const auto other = PosixFile::open(directory_ + "/source", {.writable = true});
  ASSERT_TRUE(other);
  ASSERT_TRUE(*source_->try_lock(LockKind::Exclusive));
  EXPECT_FALSE(*(*other)->try_lock(LockKind::Shared));
  std::jthread holder([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(source_->unlock());
  });
  EXPECT_TRUE(*(*other)->lock_soon(LockKind::Exclusive));
  holder.join();
  EXPECT_FALSE(*source_->lock_soon(LockKind::Shared)) << "who does not end keeps it";
}

}  // namespace
}  // namespace ploop::io
