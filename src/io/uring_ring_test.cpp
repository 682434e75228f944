#include "io/uring_ring.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/aligned_buffer.hpp"
#include "io/posix_file.hpp"

namespace ploop::io {
namespace {

/// Completion that remembers that it was called.
struct Flag : Completion {
  Flag() {
    finished = [](Completion* c) { static_cast<Flag*>(c)->done = true; };
  }
  bool done = false;
};

class RealFile : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string pattern = std::string(GetParam()) + "/ploop_ring_XXXXXX";
    const int fd = ::mkstemp(pattern.data());
    if (fd < 0) GTEST_SKIP() << "cannot write to " << GetParam();
    ::close(fd);
    path_ = pattern;
  }
  void TearDown() override {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  int run(UringRing& ring, const Op& op) {
    Flag flag;
    if (!ring.submit(op, &flag)) {
      while (!flag.done) ring.run_once(true);
    }
    return flag.result;
  }
  std::string path_;
};

TEST_P(RealFile, WritesSyncsReadsPunchesAndReportsTheEnd) {
  auto file = PosixFile::open(path_, {.writable = true, .direct = true});
  ASSERT_TRUE(file) << file.error().message();
  auto ring = UringRing::create(8);
  ASSERT_TRUE(ring) << ring.error().message();
  AlignedBuffer buffer(8192);
  std::fill_n(buffer.data(), 8192, std::byte{0x5a});

  EXPECT_EQ(run(**ring, {OpKind::Allocate, file->get(), nullptr, nullptr, 0, 65536, 0}), 0);
  EXPECT_EQ((*file)->size(), 65536);
  EXPECT_EQ(run(**ring, {OpKind::Write, file->get(), nullptr, buffer.data(), 512, 4096, 0}), 4096);
  EXPECT_EQ(run(**ring, {OpKind::Sync, file->get(), nullptr, nullptr, 0, 0, 0}), 0);
  EXPECT_EQ(run(**ring, {OpKind::Read, file->get(), nullptr, buffer.data(), 0, 8192, 0}), 8192);
  EXPECT_EQ(buffer.data()[511], std::byte{0});
  EXPECT_EQ(buffer.data()[512], std::byte{0x5a});
  EXPECT_EQ(buffer.data()[4608], std::byte{0});
  const int punched = run(**ring, {OpKind::Punch, file->get(), nullptr, nullptr, 0, 4096, 0});
  EXPECT_TRUE(punched == 0 || punched == -EOPNOTSUPP);
  EXPECT_EQ(run(**ring, {OpKind::Read, file->get(), nullptr, buffer.data(), 65536 - 512, 4096, 0}), 512);
  EXPECT_EQ(run(**ring, {OpKind::Truncate, file->get(), nullptr, nullptr, 0, 1024, 0}), 0);
  EXPECT_EQ((*file)->size(), 1024);
}

TEST_P(RealFile, ManyOperationsAtOnceAllFinish) {
  auto file = PosixFile::open(path_, {.writable = true, .direct = true});
  ASSERT_TRUE(file);
  auto ring = UringRing::create(4);
  ASSERT_TRUE(ring);
  AlignedBuffer buffer(std::size_t{400} * 512);
  std::array<Flag, 400> flags;
  for (std::size_t i = 0; i < flags.size(); ++i) {
    std::fill_n(buffer.data() + i * 512, 512, static_cast<std::byte>(i));
    const Op op{OpKind::Write, file->get(), nullptr, buffer.data() + i * 512, i * 512, 512, 0};
    if ((*ring)->submit(op, &flags[i])) flags[i].done = true;
  }
  for (Flag& f : flags) {
    while (!f.done) (*ring)->run_once(true);
    EXPECT_EQ(f.result, 512);
  }
}

INSTANTIATE_TEST_SUITE_P(FileSystems, RealFile, ::testing::Values("/var/tmp", "/dev/shm"));

TEST(UringTimers, FireWhenDueAndCanBeCancelled) {
  auto ring = UringRing::create(4);
  ASSERT_TRUE(ring);
  Flag due;
  Flag far;
  Flag never;
  (*ring)->submit_timeout(3'600'000'000'000, &far);
  (*ring)->submit_timeout(1, &never);
  (*ring)->submit_timeout(1'000'000, &due);
  (*ring)->cancel_timeout(&never);
  while (!due.done) (*ring)->run_once(true);
  EXPECT_FALSE(far.done);
  EXPECT_FALSE(never.done);
  (*ring)->cancel_timeout(&far);
}

TEST(UringPost, IsDeliveredByTheNextRun) {
  auto ring = UringRing::create(4);
  ASSERT_TRUE(ring);
  Flag flag;
  (*ring)->post(&flag);
  EXPECT_FALSE(flag.done);
  EXPECT_TRUE((*ring)->run_once(true));
  EXPECT_TRUE(flag.done);
}

TEST(PosixFileOpen, RefusesWhatIsNotARegularFile) {
  EXPECT_FALSE(PosixFile::open("/dev/null", {.writable = true}));
  EXPECT_FALSE(PosixFile::open("/tmp", {}));
}

TEST(PosixFileLock, ExcludesASecondOpenOfTheSameFile) {
  char path[] = "/tmp/ploop_lock_XXXXXX";
  const int fd = ::mkstemp(path);
  ASSERT_GE(fd, 0);
  ::close(fd);
  auto first = PosixFile::open(path, {.writable = true});
  auto second = PosixFile::open(path, {.writable = true});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*(*first)->try_lock(LockKind::Exclusive), true);
  EXPECT_EQ(*(*second)->try_lock(LockKind::Shared), false);
  first->reset();
  EXPECT_EQ(*(*second)->try_lock(LockKind::Shared), true);
  ::unlink(path);
}

}  // namespace
}  // namespace ploop::io
