// Requests whose data is in a buffer of the ring that the engine can't see (zero copy).

#include "engine/test_device.hpp"

namespace ploop::engine {
namespace {

constexpr int kBuffer = 5;

class BufferTest : public DeviceTest {
 protected:
  using Op = Request::Op;

  BufferTest() { register_buffer(); }
  void register_buffer() { ring_->set_buffer(kBuffer, {buffer_.data(), buffer_.size()}); }
  static Request request(Op op, std::uint64_t offset, std::uint64_t length) {
    Request r{op, false, false, offset, length, nullptr};
    r.buffer = kBuffer;
    return r;
  }
  int write_buffer(std::uint64_t offset, std::uint64_t length, unsigned char value) {
    std::memset(buffer_.data(), value, length);
    return execute(request(Op::Write, offset, length));
  }
  int read_buffer(std::uint64_t offset, std::uint64_t length) {
    return execute(request(Op::Read, offset, length));
  }
  [[nodiscard]] bool holds(std::uint64_t length, unsigned char value) const {
    for (std::uint64_t i = 0; i < length; ++i) {
      if (buffer_.data()[i] != std::byte{value}) return false;
    }
    return true;
  }
  /// File operations that a request of one look-up must not exceed, and one that needs memory must not make.
  template <typename Step>
  std::uint64_t operations_of(Step step) {
    const std::uint64_t before = ring_->submitted();
    step();
    return ring_->submitted() - before;
  }

  AlignedBuffer buffer_{4 * kCluster};
};

TEST_F(BufferTest, WhatTheTopHasIsOneOperation) {
  add_image();
  open();
  ASSERT_EQ(write(0, 4 * kCluster, 0x11), 0);
  EXPECT_EQ(operations_of([&] { EXPECT_EQ(write_buffer(kCluster - 4096, kCluster, 0x22), 0); }), 1u)
      << "neighbours in the file";
  EXPECT_EQ(value_at(0, kCluster - 4096), 0x11);
  EXPECT_EQ(value_at(kCluster - 4096, kCluster), 0x22);
  EXPECT_EQ(value_at(2 * kCluster - 4096, 4096), 0x11);
  EXPECT_EQ(operations_of([&] { EXPECT_EQ(read_buffer(kCluster - 4096, kCluster), 0); }), 1u);
  EXPECT_TRUE(holds(kCluster, 0x22));
  close();
  open();
  EXPECT_EQ(value_at(kCluster, 512), 0x22);
  close();
}

TEST_F(BufferTest, EachRequestIsCountedOnce) {
  add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x11), 0);
  const Stats& stats = device_->stats();
  EXPECT_EQ(write_buffer(0, 4096, 0x22), 0);
  EXPECT_EQ(read_buffer(0, 512), 0);
  EXPECT_EQ(stats.writes.get(), 2u);
  EXPECT_EQ(stats.write_bytes.get(), kCluster + 4096u);
  EXPECT_EQ(stats.reads.get(), 1u);
  EXPECT_EQ(read_buffer(8 * kCluster, 512), kNeedsMemory);
  EXPECT_EQ(stats.reads.get(), 1u) << "it comes back with memory";
  EXPECT_EQ(value_at(8 * kCluster, 512), 0);
  EXPECT_EQ(stats.reads.get(), 2u);
  EXPECT_EQ(stats.read_bytes.get(), 1024u);
  EXPECT_EQ(stats.errors.get(), 0u);
  close();
}

TEST_F(BufferTest, WhatIsMoreThanOneOperationNeedsMemoryAndChangesNothing) {
  add_written_base();
  add_image();
  open_without_clones();
  ASSERT_EQ(write(kCluster, 512, 0x33), 0) << "a cluster that is here in part";
  ASSERT_EQ(write(5 * kCluster, kCluster, 0x44), 0);
  ASSERT_EQ(write(2 * kCluster, kCluster, 0x55), 0);
  const Request cases[] = {
      request(Op::Read, 8 * kCluster, 4096),         // nobody has it
      request(Op::Write, 8 * kCluster, kCluster),    // a first write
      request(Op::Write, 0, 4096),                   // over a lower level
      request(Op::Read, kCluster, 4096),             // from two levels
      request(Op::Write, kCluster, 512),             // into a cluster that is here in part
      request(Op::Read, kCluster - 512, 1024),       // two pieces
      request(Op::Write, 6 * kCluster - 512, 1024),  // into two clusters, one of them new
      request(Op::Read, 3 * kCluster - 512, 1024),   // two levels
  };
  for (const Request& r : cases) {
    EXPECT_EQ(operations_of([&] { EXPECT_EQ(execute(r), kNeedsMemory) << r.offset; }), 0u) << r.offset;
  }
  Request durable = request(Op::Write, 5 * kCluster, 4096);
  durable.fua = true;
  EXPECT_EQ(operations_of([&] { EXPECT_EQ(execute(durable), kNeedsMemory); }), 0u) << "a flush is part of it";
  EXPECT_EQ(operations_of([&] { EXPECT_EQ(read_buffer(3 * kCluster, kCluster), 0); }), 1u)
      << "all of it from a lower level";
  EXPECT_TRUE(holds(kCluster, 0x11));
  EXPECT_EQ(value_at(0, kCluster), 0x11);
  EXPECT_EQ(value_at(kCluster, 512), 0x33);
  EXPECT_EQ(value_at(5 * kCluster, kCluster), 0x44);
  EXPECT_EQ(value_at(6 * kCluster, 512), 0);
  EXPECT_EQ(value_at(8 * kCluster, kCluster), 0);
  close();
}

TEST_F(BufferTest, WhatNoDeviceCanDoIsAnErrorAsWithMemory) {
  add_image();
  open();
  EXPECT_EQ(read_buffer(kClusters * kCluster, 512), -EINVAL);
  EXPECT_EQ(device_->stats().errors.get(), 1u);
  close();
}

/// A buffer that was filled in part holds what the kernel had there before: it is never an answer.
TEST_F(BufferTest, AReadThatComesOutShortNeedsMemory) {
  io::MemoryFile& file = add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x11), 0);
  ASSERT_EQ(flush(), 0);
  ASSERT_EQ(file.truncate(kCluster + 4096), 0);
  EXPECT_EQ(read_buffer(0, 4096), 0);
  EXPECT_EQ(read_buffer(0, 8192), kNeedsMemory);
  AlignedBuffer memory(8192);
  EXPECT_EQ(execute({Op::Read, false, false, 0, 8192, memory.data()}), -EIO) << "a damaged image";
}

TEST_F(BufferTest, WhatFailsIsTriedWithMemory) {
  io::FaultPlan plan;
  ring_ = std::make_unique<io::SimRing>(io::SimRingOptions{.faults = &plan});
  register_buffer();
  add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x11), 0);
  ASSERT_EQ(flush(), 0);
  for (const int error : {EINVAL, EIO, ENOSPC, EFAULT}) {
    plan.add({.kind = std::nullopt, .error = error});
    EXPECT_EQ(write_buffer(0, 4096, 0x22), kNeedsMemory) << error;
    plan.clear();
    plan.add({.kind = std::nullopt, .error = error});
    EXPECT_EQ(read_buffer(0, 4096), kNeedsMemory) << error;
    plan.clear();
  }
  EXPECT_EQ(device_->stats().errors.get(), 0u);
  ring_->set_buffer(kBuffer, {});
  EXPECT_EQ(execute(request(Op::Read, 0, 4096)), kNeedsMemory) << "not registered";
  close();
}

TEST_F(BufferTest, ARequestThatWaitsForAHeldDeviceIsLookedUpAfterwards) {
  add_image();
  open();
  ASSERT_EQ(write(0, 2 * kCluster, 0x11), 0);
  add_image();
  const Status prepared = device_->prepare_push(reopen_image(1, true));
  ASSERT_TRUE(prepared) << prepared.error().message();
  ASSERT_EQ(hold(), 0);
  std::memset(buffer_.data(), 0x22, 4096);
  Probe written;
  submit(*device_, request(Op::Write, 0, 4096), written);
  ring_->run_all();
  EXPECT_FALSE(written.done);
  ASSERT_TRUE(device_->seal_top());
  device_->push();
  device_->release();
  ring_->run_until([&] { return written.done; });
  EXPECT_EQ(written.result, kNeedsMemory) << "what was the top is a level that others may share";
  EXPECT_EQ(value_at(0, kCluster), 0x11);
  EXPECT_EQ(read_buffer(kCluster, kCluster), 0);
  EXPECT_TRUE(holds(kCluster, 0x11));
  close();
}

TEST_F(BufferTest, AHeldDeviceWaitsForAFileOperationOnABuffer) {
  add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x11), 0);
  std::memset(buffer_.data(), 0x22, 4096);
  Probe written;
  Probe held;
  submit(*device_, request(Op::Write, 0, 4096), written);
  submit_task([this] { return device_->hold(); }, held);
  ring_->run_until([&] { return held.done; });
  EXPECT_EQ(held.result, 0);
  EXPECT_TRUE(written.done);
  EXPECT_EQ(written.result, 0);
  device_->release();
  close();
}

/// The ring would have to hand them to a thread of the kernel, which costs more than to copy them.
TEST_F(BufferTest, SmallRequestsToAFileInMemoryAreCopied) {
  immediate_ = true;
  add_image();
  open();
  ASSERT_EQ(write(0, 3 * kCluster, 0x11), 0);
  EXPECT_EQ(operations_of([&] { EXPECT_EQ(read_buffer(0, 4096), kNeedsMemory); }), 0u);
  EXPECT_EQ(operations_of([&] { EXPECT_EQ(write_buffer(0, 4096, 0x22), kNeedsMemory); }), 0u);
  EXPECT_EQ(read_buffer(0, 2 * kCluster), 0);
  EXPECT_TRUE(holds(2 * kCluster, 0x11));
  EXPECT_EQ(write_buffer(kCluster, 2 * kCluster, 0x33), 0);
  EXPECT_EQ(value_at(kCluster, 2 * kCluster), 0x33);
  close();
}

/// For a copy of the file while the device writes it.
TEST_F(BufferTest, AWriteIsTracked) {
  add_image();
  open();
  ASSERT_EQ(write(0, 2 * kCluster, 0x11), 0);
  ASSERT_EQ(flush(), 0);
  ASSERT_TRUE(device_->track_start());
  ASSERT_TRUE(device_->track_set(device_->top_used_bytes().value()));
  ASSERT_EQ(write_buffer(kCluster + 4096, 4096, 0x22), 0);
  EXPECT_FALSE(device_->track_stop());
  std::array<FileExtent, 8> extents{};
  const auto batch = device_->track_read(extents);
  ASSERT_TRUE(batch);
  ASSERT_EQ(batch->count, 1u);
  EXPECT_EQ(extents[0].end - extents[0].start, 4096u);
  EXPECT_TRUE(device_->track_stop());
  close();
}

}  // namespace
}  // namespace ploop::engine
