// Small, readable situations on in-memory files. The random and power-cut tests are in tests/crash.

#include "engine/test_device.hpp"

namespace ploop::engine {
namespace {

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
  for (std::uint64_t at = 0; at < kCluster; at += 4096)
    ASSERT_EQ(write(at, 4096, 0x44), 0);
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
  EXPECT_EQ(execute({Request::Op::Read, false, false, kClusters * kCluster, 512, nullptr}), -EINVAL)
      << "behind the end";
  EXPECT_EQ(execute({Request::Op::Write, false, false, 100, 512, nullptr}), -EINVAL) << "not a sector";
  EXPECT_EQ(execute({Request::Op::Read, false, false, ~std::uint64_t{511}, 1024, nullptr}), -EINVAL)
      << "wraps";
  EXPECT_EQ(execute({Request::Op::Read, false, false, 0, 0, nullptr}), 0);
}

TEST_F(DeviceTest, AClusterThatCantBeCompletedKeepsNoOtherFromItsTable) {
  add_written_base();
  add_image();
  open_without_clones();
  ASSERT_EQ(write(0, 512, 0x22), 0);
  ASSERT_EQ(write(8 * kCluster, 2 * kCluster, 0x33), 0);
  faults_.read_data = true;
  EXPECT_EQ(flush(), -EIO);
  EXPECT_FALSE(device_->failed());
  faults_.read_data = false;
  const image::Delta as_stored = reopen_image(1, false);
  EXPECT_NE(as_stored.table()[8], 0u);
  EXPECT_NE(as_stored.table()[9], 0u);
  EXPECT_EQ(as_stored.table()[0], 0u) << "what is missing in it can't be read";
  EXPECT_EQ(flush(), 0);
  EXPECT_NE(reopen_image(1, false).table()[0], 0u);
  EXPECT_EQ(value_at(0, 512), 0x22);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x11);
  close();
  EXPECT_FALSE(Device::map_is_live(std::as_bytes(std::span(memory_)))) << "the image may change from now on";
}

TEST_F(DeviceTest, AFullHostRefusesANewDeviceAndEndsNoneThatRanBefore) {
  io::MemoryFile& file = add_image();
  file.set_options({.capacity = file.allocated_bytes()});
  const auto attempt = [&] {
    DeviceConfig config;
    auto delta = image::Delta::open(std::make_unique<SharedFile>(file, faults_, true, false),
                                    image::Kind::Ploop1, {.allow_in_use = true, .writable = true});
    EXPECT_TRUE(delta);
    config.deltas.push_back(std::move(*delta));
    memory_.assign(Device::map_bytes(config.deltas) / 8, 0);
    config.map_memory = std::as_writable_bytes(std::span(memory_));
    return Device::open(*ring_, std::move(config));
  };
  const auto refused = attempt();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::Fallocate);
  EXPECT_TRUE(attempt()) << "it has the mark now";
}

TEST_F(DeviceTest, AFailedBarrierIsNeverForgotten) {
  io::MemoryFile& file = add_image();
  open();
  ASSERT_EQ(write(0, 512, 1), 0);
  faults_.sync = true;
  EXPECT_EQ(flush(), -EIO);
  faults_.sync = false;
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

struct CompactProbe {
  bool done = false;
  CompactResult result;
};

TestTask start_compact(Device& device, CompactProbe& probe, std::uint64_t most = ~std::uint64_t{0}) {
  probe.result = co_await device.compact(most);
  probe.done = true;
}

TEST_F(DeviceTest, CompactingMovesTheTailIntoHolesAndCutsTheFile) {
  io::MemoryFile& file = add_image();
  open();
  for (std::uint64_t n = 0; n < 10; ++n)
    ASSERT_EQ(write(n * kCluster, kCluster, static_cast<unsigned char>(n + 1)), 0);
  ASSERT_EQ(zero(0, 4 * kCluster), 0);
  const std::int64_t before = file.size();
  CompactProbe first;
  CompactProbe second;
  start_compact(*device_, first);
  start_compact(*device_, second);
  ring_->run_until([&] { return first.done && second.done; });
  EXPECT_EQ(second.result.result, -EBUSY);
  EXPECT_EQ(first.result.result, 0);
  EXPECT_EQ(first.result.moved, 4u);
  EXPECT_EQ(file.size(), 7 * kCluster) << "six clusters and the table";
  EXPECT_EQ(first.result.cut, (static_cast<std::uint64_t>(before) - 7 * kCluster) / kCluster);
  const auto all_there = [&] {
    EXPECT_EQ(value_at(0, 4 * kCluster), 0);
    for (std::uint64_t n = 4; n < 10; ++n)
      EXPECT_EQ(value_at(n * kCluster, kCluster), static_cast<int>(n + 1));
  };
  all_there();
  ASSERT_EQ(write(0, kCluster, 0x77), 0) << "the file grows again";
  EXPECT_EQ(value_at(0, kCluster), 0x77);
  ASSERT_EQ(zero(0, kCluster), 0);
  all_there();
  close();
  open();
  all_there();
  close();
}

TEST_F(DeviceTest, CompactingStopsWhereItIsToldTo) {
  io::MemoryFile& file = add_image();
  open();
  for (std::uint64_t n = 0; n < 10; ++n)
    ASSERT_EQ(write(n * kCluster, kCluster, static_cast<unsigned char>(n + 1)), 0);
  ASSERT_EQ(zero(0, 4 * kCluster), 0);
  CompactProbe probe;
  start_compact(*device_, probe, 1);
  ring_->run_until([&] { return probe.done; });
  EXPECT_EQ(probe.result.moved, 1u);
  EXPECT_EQ(file.size(), 10 * kCluster);
  EXPECT_EQ(value_at(9 * kCluster, kCluster), 10);
  close();
}

TEST_F(DeviceTest, RunsThatTheTopHasAreFound) {
  add_written_base();
  add_image();
  open();
  ASSERT_EQ(write(2 * kCluster, 3 * kCluster, 0x22), 0);
  const auto run = [&](std::uint64_t offset, std::uint64_t length, std::uint64_t most = ~std::uint64_t{0}) {
    const Device::Run r = device_->first_run_in_top(offset, length, most);
    return std::pair(r.offset / kCluster, r.length / kCluster);
  };
  using Pair = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_EQ(run(0, kClusters * kCluster), Pair(2, 3));
  EXPECT_EQ(run(2 * kCluster + 512, kClusters * kCluster), Pair(3, 2)) << "whole clusters only";
  EXPECT_EQ(run(0, 4 * kCluster - 512), Pair(2, 1));
  EXPECT_EQ(run(0, kClusters * kCluster, 2 * kCluster), Pair(2, 2));
  EXPECT_EQ(run(5 * kCluster, ~std::uint64_t{0}).second, 0u);
  EXPECT_EQ(run(~std::uint64_t{0}, 512).second, 0u);
  close();
}

}  // namespace
}  // namespace ploop::engine
