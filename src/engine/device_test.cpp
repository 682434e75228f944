// Small, readable situations on in-memory files. The random and power-cut tests are in tests/crash.

#include "engine/device.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "format/header.hpp"
#include "io/memory_file.hpp"
#include "io/sim_ring.hpp"

namespace ploop::engine {
namespace {

constexpr std::uint32_t kCluster = 64 * 512;
constexpr std::uint64_t kClusters = 16;

/// A file that several deltas in a row can be opened on.
class SharedFile final : public io::BlockFile {
 public:
  SharedFile(io::MemoryFile& f, const bool& fail_sync) : f_(f), fail_sync_(fail_sync) {}
  std::int64_t read(std::span<std::byte> d, std::uint64_t o) override { return f_.read(d, o); }
  std::int64_t write(std::span<const std::byte> d, std::uint64_t o) override { return f_.write(d, o); }
  int sync() override { return fail_sync_ ? -EIO : f_.sync(); }
  int truncate(std::uint64_t s) override { return f_.truncate(s); }
  int allocate(std::uint64_t o, std::uint64_t l) override { return f_.allocate(o, l); }
  int punch(std::uint64_t o, std::uint64_t l) override { return f_.punch(o, l); }
  int clone(BlockFile& s, std::uint64_t so, std::uint64_t o, std::uint64_t l) override {
    return f_.clone(static_cast<SharedFile&>(s).f_, so, o, l);
  }
  std::int64_t size() override { return f_.size(); }
  [[nodiscard]] const std::string& name() const override { return f_.name(); }

 private:
  io::MemoryFile& f_;
  const bool& fail_sync_;
};

/// Counts its result; the awaiting side of a request in a test.
struct Probe {
  bool done = false;
  int result = 1;
};

struct TestTask {
  struct promise_type {
    TestTask get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
};

TestTask submit(Device& device, Request request, Probe& probe) {
  probe.result = co_await device.execute(request);
  probe.done = true;
}

class DeviceTest : public ::testing::Test {
 protected:
  io::MemoryFile& add_image(format::Version version = format::Version::V2, io::MemoryFileOptions options = {}) {
    files_.push_back(std::make_unique<io::MemoryFile>("image" + std::to_string(files_.size()), options));
    io::MemoryFile& file = *files_.back();
    const auto header = format::make_header(kClusters * kCluster / 512, kCluster / 512, version);
    const auto bytes = format::encode_header(*header);
    EXPECT_EQ(file.truncate(header->first_block_sectors * 512ull), 0);
    EXPECT_EQ(file.write(bytes, 0), 64);
    return file;
  }
  void open(DeviceConfig config = {}) {
    for (auto& f : files_) {
      const bool top = f == files_.back();
      auto delta = image::Delta::open(std::make_unique<SharedFile>(*f, fail_sync_), image::Kind::Ploop1,
                                      {.allow_in_use = config.adopt_map, .writable = top});
      ASSERT_TRUE(delta) << delta.error().message();
      config.deltas.push_back(std::move(*delta));
    }
    if (!config.adopt_map) {
      memory_.assign(Device::map_bytes(config.deltas) / 8, 0);
    }
    config.map_memory = std::as_writable_bytes(std::span(memory_));
    auto device = Device::open(*ring_, std::move(config));
    ASSERT_TRUE(device) << device.error().message();
    device_ = std::move(*device);
  }
  int execute(Request request) {
    Probe probe;
    submit(*device_, request, probe);
    ring_->run_until([&] { return probe.done; });
    EXPECT_TRUE(probe.done);
    return probe.result;
  }
  int write(std::uint64_t offset, std::uint64_t length, unsigned char value, bool fua = false) {
    AlignedBuffer buffer(length);
    std::memset(buffer.data(), value, length);
    return execute({Request::Op::Write, fua, false, offset, length, buffer.data()});
  }
  int zero(std::uint64_t offset, std::uint64_t length) {
    return execute({Request::Op::WriteZeroes, false, true, offset, length, nullptr});
  }
  int flush() { return execute({Request::Op::Flush, false, false, 0, 0, nullptr}); }
  /// The value of every byte of the range, or -1 when they differ.
  int value_at(std::uint64_t offset, std::uint64_t length) {
    AlignedBuffer buffer(length);
    EXPECT_EQ(execute({Request::Op::Read, false, false, offset, length, buffer.data()}), 0);
    for (std::size_t i = 1; i < length; ++i) {
      if (buffer.data()[i] != buffer.data()[0]) return -1;
    }
    return static_cast<int>(buffer.data()[0]);
  }
  void close() {
    const auto closed = device_->close();
    ASSERT_TRUE(closed) << closed.error().message();
    device_.reset();
  }
  /// A lower image full of 0x11 in its first four clusters.
  void add_written_base(io::MemoryFileOptions options = {}) {
    add_image(format::Version::V2, options);
    open();
    ASSERT_EQ(write(0, 4 * kCluster, 0x11), 0);
    close();
  }

  bool fail_sync_ = false;
  std::unique_ptr<io::SimRing> ring_ = std::make_unique<io::SimRing>();
  std::vector<std::unique_ptr<io::MemoryFile>> files_;
  std::vector<std::uint64_t> memory_;
  std::unique_ptr<Device> device_;
};

TEST_F(DeviceTest, UnwrittenReadsAsZerosAndWrittenComesBackAfterClose) {
  for (const auto version : {format::Version::V1, format::Version::V2}) {
    files_.clear();
    add_image(version);
    open();
    EXPECT_EQ(value_at(0, 4096), 0);
    EXPECT_EQ(write(512, 1024, 0xaa), 0);
    EXPECT_EQ(write(3 * kCluster - 512, 1024, 0xbb), 0) << "crosses clusters";
    close();
    open();
    EXPECT_EQ(value_at(0, 512), 0);
    EXPECT_EQ(value_at(512, 1024), 0xaa);
    EXPECT_EQ(value_at(3 * kCluster - 512, 1024), 0xbb);
    EXPECT_EQ(value_at(3 * kCluster + 512, 512), 0);
    close();
  }
}

TEST_F(DeviceTest, MarksTheImageInUseWhileOpenAndCutsTheTailAtClose) {
  io::MemoryFile& file = add_image();
  open();
  auto in_use = [&] {
    std::array<std::byte, 64> head{};
    EXPECT_EQ(file.read(head, 0), 64);
    return format::decode_header(head)->in_use;
  };
  EXPECT_EQ(in_use(), format::kInUseMark);
  EXPECT_EQ(write(0, 512, 1), 0);
  EXPECT_GT(file.size(), 2 * kCluster) << "extended ahead of need";
  close();
  EXPECT_EQ(in_use(), format::kClosedMark);
  EXPECT_EQ(file.size(), 2 * kCluster);
}

TEST_F(DeviceTest, FlushWithNothingToDoCostsNoBarrier) {
  add_image();
  open();
  ASSERT_EQ(flush(), 0);
  const std::uint64_t before = device_->stats().barriers.get();
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(device_->stats().barriers.get(), before);
  ASSERT_EQ(write(0, kCluster, 1), 0);
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(device_->stats().barriers.get(), before + 2) << "data, then table";
  ASSERT_EQ(write(0, kCluster, 2), 0);
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(device_->stats().barriers.get(), before + 3) << "an overwrite needs one";
  close();
}

TEST_F(DeviceTest, ATableChangeIsCommittedWithoutAFlushAfterAWhile) {
  add_image();
  open();
  ASSERT_EQ(write(0, 512, 1), 0);
  EXPECT_EQ(device_->stats().commits.get(), 0u);
  ring_->run_all();
  EXPECT_EQ(device_->stats().commits.get(), 1u);
  EXPECT_GE(ring_->now(), 1'000'000'000u);
  close();
}

TEST_F(DeviceTest, DiscardedClusterIsPunchedAfterTheCommitAndReused) {
  io::MemoryFile& file = add_image();
  open();
  ASSERT_EQ(write(0, 2 * kCluster, 0x77), 0);
  ASSERT_EQ(flush(), 0);
  ASSERT_EQ(zero(0, kCluster), 0);
  EXPECT_EQ(value_at(0, kCluster), 0);
  EXPECT_TRUE(file.allocated(kCluster, kCluster)) << "the table on disk still names it";
  ASSERT_EQ(flush(), 0);
  ring_->run_all();
  EXPECT_FALSE(file.allocated(kCluster, kCluster));
  ASSERT_EQ(write(5 * kCluster, 512, 0x33), 0);
  EXPECT_EQ(device_->stats().reused.get(), 1u);
  EXPECT_EQ(value_at(5 * kCluster + 512, 512), 0) << "nothing of the former owner";
  close();
  EXPECT_EQ(file.size(), 3 * kCluster);
}

TEST_F(DeviceTest, PartialZeroingKeepsTheNeighbours) {
  add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x77), 0);
  ASSERT_EQ(zero(4096, 8192), 0);
  EXPECT_EQ(value_at(0, 4096), 0x77);
  EXPECT_EQ(value_at(4096, 8192), 0);
  EXPECT_EQ(value_at(12288, kCluster - 12288), 0x77);
  EXPECT_EQ(zero(2 * kCluster, kCluster), 0) << "unmapped stays unmapped";
  EXPECT_EQ(device_->stats().allocated.get(), 1u);
  close();
}

TEST_F(DeviceTest, FirstWriteOverALowerDeltaKeepsItsOtherSectors) {
  for (const bool clone : {false, true}) {
    files_.clear();
    io::MemoryFileOptions options;
    options.can_clone = clone;
    add_written_base(options);
    add_image(format::Version::V2, options);
    open();
    ASSERT_EQ(write(kCluster + 512, 512, 0x22), 0);
    EXPECT_EQ(value_at(kCluster, 512), 0x11);
    EXPECT_EQ(value_at(kCluster + 512, 512), 0x22);
    EXPECT_EQ(value_at(kCluster + 1024, kCluster - 1024), 0x11);
    EXPECT_EQ(device_->stats().clones.get(), clone ? 1u : 0u);
    ASSERT_EQ(flush(), 0);
    EXPECT_EQ(device_->stats().fills.get(), clone ? 0u : 1u);
    close();
    open();
    EXPECT_EQ(value_at(kCluster, 512), 0x11);
    EXPECT_EQ(value_at(kCluster + 512, 512), 0x22);
    EXPECT_EQ(value_at(kCluster + 1024, kCluster - 1024), 0x11);
    close();
  }
}

TEST_F(DeviceTest, AClusterOverwrittenPieceByPieceNeverReadsItsParent) {
  add_written_base();
  add_image();
  open();
  for (std::uint64_t at = 0; at < kCluster; at += 4096) ASSERT_EQ(write(at, 4096, 0x44), 0);
  ASSERT_EQ(write(kCluster, kCluster, 0x55), 0) << "and one at once";
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(device_->stats().fill_bytes.get(), 0u);
  EXPECT_EQ(value_at(0, kCluster), 0x44);
  EXPECT_EQ(value_at(kCluster, kCluster), 0x55);
  close();
}

TEST_F(DeviceTest, ZeroingOverALowerDeltaHidesItAndCostsNoSpace) {
  add_written_base();
  io::MemoryFile& top = add_image();
  open();
  ASSERT_EQ(zero(0, kCluster), 0);
  ASSERT_EQ(zero(kCluster + 4096, 4096), 0);
  ASSERT_EQ(write(2 * kCluster, 512, 9), 0);
  ASSERT_EQ(zero(2 * kCluster, kCluster), 0) << "a partial cluster";
  close();
  open();
  EXPECT_EQ(value_at(0, kCluster), 0);
  EXPECT_EQ(value_at(kCluster, 4096), 0x11);
  EXPECT_EQ(value_at(kCluster + 4096, 4096), 0);
  EXPECT_EQ(value_at(kCluster + 8192, kCluster - 8192), 0x11);
  EXPECT_EQ(value_at(2 * kCluster, kCluster), 0);
  EXPECT_EQ(value_at(3 * kCluster, kCluster), 0x11);
  EXPECT_FALSE(top.allocated(kCluster, kCluster)) << "the first cluster taken holds zeros only";
  close();
}

TEST_F(DeviceTest, RefusesRequestsNoDeviceCanServe) {
  add_image();
  open();
  EXPECT_EQ(execute({Request::Op::Read, false, false, kClusters * kCluster, 512, nullptr}), -EINVAL) << "behind the end";
  EXPECT_EQ(execute({Request::Op::Write, false, false, 100, 512, nullptr}), -EINVAL) << "not a sector";
  EXPECT_EQ(execute({Request::Op::Read, false, false, ~std::uint64_t{511}, 1024, nullptr}), -EINVAL) << "wraps";
  EXPECT_EQ(execute({Request::Op::Read, false, false, 0, 0, nullptr}), 0);
}

TEST_F(DeviceTest, AFailedBarrierIsNeverForgotten) {
  io::MemoryFile& file = add_image();
  open();
  ASSERT_EQ(write(0, 512, 1), 0);
  fail_sync_ = true;
  EXPECT_EQ(flush(), -EIO);
  fail_sync_ = false;
  EXPECT_EQ(flush(), -EIO) << "a later barrier that succeeds says nothing about the lost one";
  EXPECT_EQ(write(0, 512, 2), -EIO);
  EXPECT_EQ(value_at(0, 512), 1) << "reading goes on";
  EXPECT_TRUE(device_->failed());
  EXPECT_FALSE(device_->close());
  std::array<std::byte, 64> head{};
  EXPECT_EQ(file.read(head, 0), 64);
  EXPECT_TRUE(format::decode_header(head)->is_in_use()) << "the next attach must look at it";
}

TEST_F(DeviceTest, ReadOnlyRefusesWritesAndChangesNothing) {
  io::MemoryFile& file = add_image();
  const io::MemoryFile before(file);
  DeviceConfig config;
  config.writable = false;
  open(std::move(config));
  EXPECT_EQ(write(0, 512, 1), -EROFS);
  EXPECT_EQ(zero(0, 512), -EROFS);
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(value_at(0, 512), 0);
  close();
  EXPECT_EQ(file.size(), const_cast<io::MemoryFile&>(before).size());
}

TEST_F(DeviceTest, ASuccessorTakesOverTheMapOfAKilledWorker) {
  add_written_base();
  add_image();
  open();
  ASSERT_EQ(write(8 * kCluster, 512, 0x21), 0);
  ASSERT_EQ(write(kCluster + 512, 512, 0x22), 0) << "partial: only some sectors are in the top";
  ASSERT_EQ(write(9 * kCluster, kCluster, 0x23), 0);
  ASSERT_EQ(zero(9 * kCluster, kCluster), 0);
  device_.reset();  // killed: nothing was committed
  ring_ = std::make_unique<io::SimRing>();
  DeviceConfig config;
  config.adopt_map = true;
  open(std::move(config));
  EXPECT_EQ(value_at(8 * kCluster, 512), 0x21);
  EXPECT_EQ(value_at(8 * kCluster + 512, 512), 0);
  EXPECT_EQ(value_at(kCluster, 512), 0x11);
  EXPECT_EQ(value_at(kCluster + 512, 512), 0x22);
  EXPECT_EQ(value_at(9 * kCluster, kCluster), 0);
  ASSERT_EQ(write(10 * kCluster, kCluster, 0x24), 0);
  close();
  open();
  EXPECT_EQ(value_at(8 * kCluster, 512), 0x21);
  EXPECT_EQ(value_at(kCluster, 512), 0x11);
  EXPECT_EQ(value_at(kCluster + 512, 512), 0x22);
  EXPECT_EQ(value_at(10 * kCluster, kCluster), 0x24);
  close();
}

TEST_F(DeviceTest, AFullHostFileSystemFailsOrWaitsAsConfigured) {
  io::MemoryFile& file = add_image();
  DeviceConfig config;
  config.on_no_space = OnNoSpace::Fail;
  open(std::move(config));
  io::MemoryFileOptions full;
  full.capacity = kCluster;
  file.set_options(full);
  EXPECT_EQ(write(0, 512, 1), -ENOSPC);
  EXPECT_EQ(value_at(0, 512), 0);
  close();

  open();
  Probe probe;
  AlignedBuffer buffer(512);
  submit(*device_, {Request::Op::Write, false, false, 0, 512, buffer.data()}, probe);
  ring_->run_until([&] { return ring_->now() > 10'000'000'000u; });
  EXPECT_TRUE(ring_->run_until([&] { return device_->paused_for_space(); }));
  EXPECT_FALSE(probe.done);
  file.set_options({});
  ring_->run_until([&] { return probe.done; });
  EXPECT_EQ(probe.result, 0);
  close();
}

}  // namespace
}  // namespace ploop::engine
