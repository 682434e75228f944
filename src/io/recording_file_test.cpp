// RecordingFile: the log tells what a power cut may leave.
#include "io/recording_file.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "base/aligned_buffer.hpp"

namespace ploop::io {
namespace {

void ignore_completion(Completion*) {}

TEST(RecordingFile, PlainCallsBeginAndFinishAtOnce) {
  SimDisk disk;
  RecordingFile file(disk, std::make_unique<MemoryFile>("m"));
  const std::vector<std::byte> data(512, std::byte{3});
  ASSERT_EQ(file.write(data, 512), 512);
  ASSERT_EQ(file.sync(), 0);
  ASSERT_EQ(file.allocate(0, 8192), 0);
  ASSERT_EQ(file.punch(512, 512), 0);
  ASSERT_EQ(file.truncate(4096), 0);
  const auto& log = disk.log();
  ASSERT_EQ(log.size(), 5U);
  EXPECT_EQ(log[0].kind, OpKind::Write);
  EXPECT_EQ(log[0].data, data);
  EXPECT_EQ(log[0].size_before, 0U);
  EXPECT_EQ(log[2].size_before, 1024U);
  EXPECT_EQ(log[4].length, 4096U);
  std::uint64_t last = 0;
  for (const Recorded& entry : log) {
    EXPECT_GT(entry.submitted, last);
    EXPECT_GT(entry.completed, entry.submitted);
    last = entry.completed;
  }
}

TEST(RecordingFile, RingOperationsHaveALifeTime) {
  SimDisk disk;
  RecordingFile file(disk, std::make_unique<MemoryFile>("m"));
  SimRing ring({.seed = 3});
  AlignedBuffer data(4096);
  data.data()[0] = std::byte{1};
  Completion write;
  Completion barrier;
  write.finished = barrier.finished = &ignore_completion;
  ASSERT_FALSE(
      ring.submit({.kind = OpKind::Write, .file = &file, .data = data.data(), .length = 4096}, &write));
  ASSERT_FALSE(ring.submit({.kind = OpKind::Sync, .file = &file}, &barrier));
  EXPECT_EQ(file.size(), 0);
  EXPECT_EQ(disk.log()[0].completed, Recorded::kNever);
  EXPECT_EQ(disk.log()[0].data[0], std::byte{1});
  ring.run_all();
  EXPECT_EQ(file.size(), 4096);
  EXPECT_NE(disk.log()[0].completed, Recorded::kNever);
  EXPECT_LT(disk.log()[0].submitted, disk.log()[1].submitted);
}

TEST(RecordingFile, FailedOperationsAreRecordedAsFailed) {
  SimDisk disk;
  RecordingFile file(disk, std::make_unique<MemoryFile>("m"));
  FaultPlan plan;
  plan.add({.kind = OpKind::Write, .error = ENOSPC, .half_done = true});
  plan.add({.kind = OpKind::Sync, .error = EIO});
  file.set_faults(&plan);
  const std::vector<std::byte> data(2048, std::byte{3});
  EXPECT_EQ(file.write(data, 0), -ENOSPC);
  EXPECT_EQ(file.size(), 1024);
  EXPECT_EQ(file.sync(), -EIO);
  EXPECT_EQ(file.sync(), 0);
  EXPECT_EQ(disk.log()[0].result, -ENOSPC);
  EXPECT_EQ(disk.log()[1].result, -EIO);
  EXPECT_EQ(disk.log()[2].result, 0);
}

TEST(RecordingFile, CloneRecordsTheBytesItShared) {
  MemoryFileOptions options;
  options.can_clone = true;
  SimDisk disk;
  MemoryFile source("s", options);
  ASSERT_EQ(source.write(std::vector<std::byte>(4096, std::byte{8}), 0), 4096);
  RecordingFile file(disk, std::make_unique<MemoryFile>("m", options));
  EXPECT_EQ(file.clone(source, 0, 4096, 4096), 0);
  EXPECT_EQ(disk.log()[0].data, std::vector<std::byte>(4096, std::byte{8}));
  EXPECT_EQ(file.size(), 8192);
}

}  // namespace
}  // namespace ploop::io
