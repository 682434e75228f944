#include "io/uring_ring.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>

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
      while (!flag.done)
        ring.run_once(true);
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
    while (!f.done)
      (*ring)->run_once(true);
    EXPECT_EQ(f.result, 512);
  }
}

/// Memory takes the part of a driver's pages here, so its address is not 0.
TEST_P(RealFile, ReadsAndWritesRegisteredBuffers) {
  auto file = PosixFile::open(path_, {.writable = true, .direct = true});
  ASSERT_TRUE(file);
  auto ring = UringRing::create(8, UringRing::Start::Disabled);
  ASSERT_TRUE(ring);
  if (const Status room = (*ring)->make_room_for_buffers(4); !room) GTEST_SKIP() << room.error().message();
  AlignedBuffer memory(8192);
  const iovec pages{memory.data(), memory.size()};
  const __u64 no_tag = 0;
  if (io_uring_register_buffers_update_tag((*ring)->native(), 2, &pages, &no_tag, 1) != 1)
    GTEST_SKIP() << "no locked memory";
  ASSERT_TRUE((*ring)->restrict_operations());
  ASSERT_TRUE((*ring)->enable());

  std::fill_n(memory.data(), 8192, std::byte{0x5a});
  EXPECT_EQ(run(**ring, {OpKind::Write, file->get(), nullptr, memory.data(), 4096, 8192, 0, 2}), 8192);
  std::fill_n(memory.data(), 8192, std::byte{0});
  EXPECT_EQ(run(**ring, {OpKind::Read, file->get(), nullptr, memory.data(), 0, 8192, 0, 2}), 8192);
  EXPECT_EQ(memory.data()[4095], std::byte{0});
  EXPECT_EQ(memory.data()[4096], std::byte{0x5a});
  EXPECT_EQ(run(**ring, {OpKind::Read, file->get(), nullptr, memory.data(), 8192, 8192, 0, 2}), 4096)
      << "the file ends";
  EXPECT_EQ(run(**ring, {OpKind::Read, file->get(), nullptr, nullptr, 0, 4096, 0, 1}), -EFAULT)
      << "nothing is registered there";
  EXPECT_EQ(run(**ring, {OpKind::Read, file->get(), nullptr, nullptr, 0, 4096, 0, 4}), -EFAULT)
      << "there is no such place";
  EXPECT_EQ(io_uring_register_buffers_update_tag((*ring)->native(), 0, &pages, &no_tag, 1), -EACCES);
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
  while (!due.done)
    (*ring)->run_once(true);
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

/// The result of one prepared operation that the class itself would not start.
int raw_result(UringRing& ring, const std::function<void(io_uring_sqe*)>& prepare) {
  io_uring_sqe* sqe = io_uring_get_sqe(ring.native());
  prepare(sqe);
  io_uring_cqe* cqe = nullptr;
  const int submitted = io_uring_submit_and_wait(ring.native(), 1);
  if (submitted < 0) return submitted;
  if (io_uring_peek_cqe(ring.native(), &cqe) != 0) return -ENODATA;
  const int result = cqe->res;
  io_uring_cqe_seen(ring.native(), cqe);
  return result;
}

TEST(RestrictedRing, TakesWhatTheClassUsesAndNothingElse) {
  auto ring = UringRing::create(8, UringRing::Start::Disabled);
  ASSERT_TRUE(ring) << ring.error().message();
  if (const Status restricted = (*ring)->restrict_operations(); !restricted)
    GTEST_SKIP() << restricted.error().message();
  ASSERT_TRUE((*ring)->enable());

  const auto nop = [](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); };
  const auto open = [](io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0); };
  const auto unlink = [](io_uring_sqe* sqe) { io_uring_prep_unlink(sqe, "/nonexistent/file", 0); };
  const auto elsewhere = [](io_uring_sqe* sqe) {
    io_uring_prep_fsync(sqe, -1, 0);
    sqe->flags |= IOSQE_ASYNC;
  };
  EXPECT_EQ(raw_result(**ring, nop), -EACCES);
  EXPECT_EQ(raw_result(**ring, open), -EACCES);
  EXPECT_EQ(raw_result(**ring, unlink), -EACCES);
  const auto read_buffer = [](io_uring_sqe* sqe) { io_uring_prep_read_fixed(sqe, 0, nullptr, 512, 0, 0); };
  const auto write_buffer = [](io_uring_sqe* sqe) { io_uring_prep_write_fixed(sqe, 0, nullptr, 512, 0, 0); };
  EXPECT_EQ(raw_result(**ring, read_buffer), -EACCES) << "there is no room for registered buffers";
  EXPECT_EQ(raw_result(**ring, write_buffer), -EACCES);
  EXPECT_EQ(raw_result(**ring, elsewhere), -EACCES) << "flags are operations' modifiers and not used";
  EXPECT_EQ(io_uring_register_files((*ring)->native(), std::array{0}.data(), 1), -EACCES);

  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd in(ends[0]);
  const Fd out(ends[1]);
  ASSERT_EQ(::write(out.get(), "x", 1), 1);
  Flag readable;
  (*ring)->submit_poll(in.get(), POLLIN, &readable);
  while (!readable.done)
    (*ring)->run_once(true);
  EXPECT_EQ(readable.result, POLLIN);
  std::array<std::byte, 8> bytes{};
  Flag read;
  (*ring)->submit_read(in.get(), bytes, &read);
  while (!read.done)
    (*ring)->run_once(true);
  EXPECT_EQ(read.result, 1);
}

TEST(RestrictedRing, ADisabledOneTakesNothingBeforeItIsEnabled) {
  auto ring = UringRing::create(8, UringRing::Start::Disabled);
  ASSERT_TRUE(ring);
  const auto nop = [](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); };
  if (!(*ring)->restrict_operations()) GTEST_SKIP() << "the kernel has no disabled rings";
  EXPECT_EQ(raw_result(**ring, nop), -EBADFD);
  ASSERT_TRUE((*ring)->enable());
  ASSERT_TRUE((*ring)->enable()) << "again is nothing";
}

}  // namespace
}  // namespace ploop::io
