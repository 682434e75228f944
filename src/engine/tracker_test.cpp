// The write tracker alone, and in a device under random load beside a simulated copy: when the tracker lets
// itself be stopped, the copy has to be equal to the file.
#include "engine/tracker.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/endian.hpp"
#include "base/units.hpp"
#include "engine/device.hpp"
#include "format/header.hpp"
#include "io/forwarding_file.hpp"
#include "io/memory_file.hpp"
#include "io/sim_ring.hpp"

namespace ploop::engine {
namespace {

constexpr std::uint64_t kFile = 64 * kMiB;

std::vector<FileExtent> read_all(Tracker& tracker, std::uint64_t used_end, std::size_t at_a_time = 3) {
  std::vector<FileExtent> all;
  for (;;) {
    std::vector<FileExtent> out(at_a_time);
    const Tracker::Batch batch = tracker.read(out, used_end, kFile);
    all.insert(all.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(batch.count));
    if (batch.round_complete) return all;
  }
}

TEST(Tracker, OffRecordsNothing) {
  Tracker tracker;
  tracker.mark(0, kFile);
  ASSERT_TRUE(tracker.start(kFile));
  EXPECT_EQ(tracker.dirty_bytes(), 0u);
  EXPECT_EQ(tracker.start(kFile).error().code, ExitCode::Busy);
  tracker.abort();
  EXPECT_FALSE(tracker.active());
  EXPECT_TRUE(tracker.start(kFile));
}

TEST(Tracker, RecordsBelowThePositionOnlyAndWholeGranules) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(kFile));
  tracker.mark(0, 4096);
  EXPECT_EQ(tracker.dirty_bytes(), 0u) << "everything is going to be read";
  ASSERT_TRUE(tracker.set_position(1 * kMiB));
  tracker.mark(512, 512);
  tracker.mark(8192, 4097);
  tracker.mark(kMiB - 512, 1024);
  tracker.mark(kMiB, 4096);
  tracker.mark(20 * kMiB, 4096);
  EXPECT_EQ(read_all(tracker, kMiB),
            (std::vector<FileExtent>{{0, 4096}, {8192, 16384}, {kMiB - 4096, kMiB}}));
  EXPECT_EQ(tracker.dirty_bytes(), 0u);
  EXPECT_TRUE(read_all(tracker, kMiB).empty());
  EXPECT_TRUE(tracker.stop(kMiB, false));
}

TEST(Tracker, NeighboursBecomeOneExtentAndRepeatedWritesOne) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(kFile));
  ASSERT_TRUE(tracker.set_position(kFile));
  for (int i = 0; i < 3; ++i) {
    for (std::uint64_t n = 10; n < 200; ++n)
      tracker.mark(n * 4096, 4096);
  }
  EXPECT_EQ(tracker.dirty_bytes(), 190u * 4096);
  EXPECT_EQ(read_all(tracker, kFile), (std::vector<FileExtent>{{10 * 4096, 200 * 4096}}));
}

TEST(Tracker, WhatIsWrittenBehindTheCursorComesInTheNextRound) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(kFile));
  ASSERT_TRUE(tracker.set_position(kFile));
  tracker.mark(kMiB, 4096);
  tracker.mark(2 * kMiB, 4096);
  std::array<FileExtent, 1> out;
  EXPECT_FALSE(tracker.read(out, kFile, kFile).round_complete);
  EXPECT_EQ(out[0].start, kMiB);
  tracker.mark(kMiB, 4096);
  EXPECT_EQ(read_all(tracker, kFile), (std::vector<FileExtent>{{2 * kMiB, 2 * kMiB + 4096}}));
  EXPECT_EQ(tracker.stop(kFile, false).error().code, ExitCode::Busy);
  EXPECT_EQ(read_all(tracker, kFile), (std::vector<FileExtent>{{kMiB, kMiB + 4096}}));
  EXPECT_TRUE(tracker.stop(kFile, false));
}

TEST(Tracker, HandsOutGrowthOnceAndRecordsWritesToItFromThen) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(kFile));
  ASSERT_TRUE(tracker.set_position(kMiB));
  EXPECT_EQ(tracker.stop(2 * kMiB, false).error().code, ExitCode::Busy) << "the file grew";
  EXPECT_EQ(read_all(tracker, 2 * kMiB), (std::vector<FileExtent>{{kMiB, 2 * kMiB}}));
  EXPECT_TRUE(read_all(tracker, 2 * kMiB).empty());
  tracker.mark(kMiB, 512);
  EXPECT_EQ(read_all(tracker, 2 * kMiB), (std::vector<FileExtent>{{kMiB, kMiB + 4096}}));
  EXPECT_TRUE(tracker.stop(2 * kMiB, false));
}

TEST(Tracker, GrowthBeginsAtAWholeGranule) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(kFile));
  ASSERT_TRUE(tracker.set_position(10000));
  EXPECT_EQ(read_all(tracker, 20000), (std::vector<FileExtent>{{8192, 20000}}));
  EXPECT_EQ(tracker.position(), 20000u);
}

TEST(Tracker, StopsNeitherDuringAWriteNorWithSomethingLeft) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(kFile));
  ASSERT_TRUE(tracker.set_position(kMiB));
  EXPECT_EQ(tracker.stop(kMiB, true).error().code, ExitCode::Busy);
  tracker.mark(0, 1);
  EXPECT_EQ(tracker.stop(kMiB, false).error().code, ExitCode::Busy);
  EXPECT_TRUE(tracker.active());
  EXPECT_EQ(read_all(tracker, kMiB).size(), 1u);
  EXPECT_TRUE(tracker.stop(kMiB, false));
  EXPECT_EQ(tracker.stop(kMiB, false).error().code, ExitCode::Param) << "it is off";
}

TEST(Tracker, PositionMovesForwardOrBackToTheStart) {
  Tracker tracker;
  EXPECT_EQ(tracker.set_position(4096).error().code, ExitCode::Param);
  ASSERT_TRUE(tracker.start(kFile));
  ASSERT_TRUE(tracker.set_position(kMiB));
  EXPECT_EQ(tracker.set_position(kMiB - 1).error().code, ExitCode::Param);
  EXPECT_EQ(tracker.set_position(kFile + 1).error().code, ExitCode::Param);
  tracker.mark(0, 4096);
  ASSERT_TRUE(tracker.set_position(0));
  EXPECT_EQ(tracker.dirty_bytes(), 0u);
  EXPECT_EQ(read_all(tracker, kMiB), (std::vector<FileExtent>{{0, kMiB}})) << "all of it again";
}

TEST(Tracker, CutsTheLastGranuleAtTheEndOfTheFile) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(10000));
  ASSERT_TRUE(tracker.set_position(10000));
  tracker.mark(9999, 1);
  std::array<FileExtent, 2> out;
  ASSERT_EQ(tracker.read(out, 10000, 10000).count, 1u);
  EXPECT_EQ(out[0], (FileExtent{8192, 10000}));
}

TEST(Tracker, TakesCoarserGranulesForHugeFiles) {
  Tracker tracker;
  ASSERT_TRUE(tracker.start(256 * kGiB));
  EXPECT_EQ(tracker.granularity(), 4096u);
  tracker.abort();
  ASSERT_TRUE(tracker.start(256 * kGiB + 1));
  EXPECT_EQ(tracker.granularity(), 8192u);
  tracker.abort();
  ASSERT_TRUE(tracker.start(std::uint64_t{1} << 47));
  EXPECT_EQ(div_up(std::uint64_t{1} << 47, tracker.granularity()), Tracker::kMaxBits);
  ASSERT_TRUE(tracker.set_position(std::uint64_t{1} << 47));
  tracker.mark((std::uint64_t{1} << 47) - 1, 1);
  EXPECT_EQ(tracker.dirty_bytes(), tracker.granularity());
}

TEST(Tracker, AgreesWithAPlainModel) {
  std::mt19937_64 random(7);
  for (int run = 0; run < 50; ++run) {
    constexpr std::uint64_t kGranules = 300;
    Tracker tracker;
    ASSERT_TRUE(tracker.start(kGranules * 4096));
    ASSERT_TRUE(tracker.set_position(kGranules * 4096));
    std::vector<bool> model(kGranules);
    for (int i = 0; i < 200; ++i) {
      const std::uint64_t offset = random() % (kGranules * 4096);
      const std::uint64_t length = 1 + random() % std::min<std::uint64_t>(kGranules * 4096 - offset, 400'000);
      if (random() % 3 == 0) {
        tracker.mark(offset, length);
        for (std::uint64_t g = offset / 4096; g <= (offset + length - 1) / 4096; ++g)
          model[g] = true;
      } else {
        std::vector<FileExtent> out(1 + random() % 4);
        const Tracker::Batch batch = tracker.read(out, kGranules * 4096, kGranules * 4096);
        for (std::size_t n = 0; n < batch.count; ++n) {
          for (std::uint64_t g = out[n].start / 4096; g < out[n].end / 4096; ++g) {
            ASSERT_TRUE(model[g]) << "handed out twice";
            model[g] = false;
          }
        }
      }
      ASSERT_EQ(tracker.dirty_bytes() / 4096,
                static_cast<std::uint64_t>(std::count(model.begin(), model.end(), true)));
    }
  }
}

// ------------------------------------------------------------------------------------------------ a copy
// under load

constexpr std::uint32_t kCluster = 64 * 512;
constexpr std::uint64_t kClusters = 64;
constexpr std::uint64_t kDisk = kClusters * kCluster;

struct Looper {
  struct promise_type {
    Looper get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
};

/// A file seen by a delta, which owns its BlockFile.
using Borrowed = io::ForwardingFile<>;

/// A device with several requests at a time and a copy of its top's file that is made meanwhile.
class CopyUnderLoad {
 public:
  explicit CopyUnderLoad(std::uint64_t seed)
      : random_(seed), ring_({.seed = seed, .immediate_percent = unsigned(seed % 3 * 20)}) {}

  void run() {
    open();
    speed_ = random_() % 12;
    for (int tag = 0; tag < 6; ++tag)
      work(*this);
    ASSERT_TRUE(device_->track_start());
    while (workers_ > 0) {
      ring_.run_once(true);
      for (std::uint64_t step = random_() % (2 + speed_); step > 0; --step)
        copy_step();
    }
    finish();
    compare();
    ASSERT_TRUE(device_->close());
  }

  /// `full`: every second guest cluster has data.
  static void make_image(io::MemoryFile& file, bool full) {
    const auto header = format::make_header(kDisk / 512, kCluster / 512, format::Version::V2);
    ASSERT_EQ(file.truncate(header->first_block_sectors * 512ull), 0);
    ASSERT_EQ(file.write(format::encode_header(*header), 0), 64);
    if (!full) return;
    std::vector<std::byte> data(kCluster, std::byte{0x5A});
    for (std::uint32_t n = 0; n < kClusters; n += 2) {
      const std::uint32_t cluster = header->header_clusters() + n / 2;
      const le32 slot = format::slot_from_cluster(*header, cluster);
      ASSERT_GT(file.write(data, std::uint64_t{cluster} * kCluster), 0);
      ASSERT_EQ(file.write(std::as_bytes(std::span(&slot, 1)), 64 + 4 * n), 4);
    }
  }

 private:
  void open() {
    // The file that is copied is usually empty at first, so that the copy soon sees clusters come and go.
    const bool chain = random_() % 2 == 0;
    const io::MemoryFileOptions options{.can_clone = random_() % 2 == 0, .can_punch = random_() % 4 != 0};
    DeviceConfig config;
    for (int level = chain ? 0 : 1; level < 2; ++level) {
      files_.push_back(std::make_unique<io::MemoryFile>("image", options));
      make_image(*files_.back(), level == 0);
      auto delta = image::Delta::open(std::make_unique<Borrowed>(*files_.back()), image::Kind::Ploop1,
                                      {.writable = level == 1});
      ASSERT_TRUE(delta) << delta.error().message();
      config.deltas.push_back(std::move(*delta));
    }
    memory_.assign(Device::map_bytes(config.deltas) / 8, 0);
    config.map_memory = std::as_writable_bytes(std::span(memory_));
    auto device = Device::open(ring_, std::move(config));
    ASSERT_TRUE(device) << device.error().message();
    device_ = std::move(*device);
  }

  Request random_request(AlignedBuffer& buffer) {
    Request r;
    const std::uint64_t kind = random_() % 10;
    r.op = kind == 0 ? Request::Op::Flush : kind <= 2 ? Request::Op::WriteZeroes : Request::Op::Write;
    if (r.op == Request::Op::Flush) return r;
    r.fua = random_() % 8 == 0;
    r.unmap = true;
    const bool whole = random_() % 3 == 0;
    const std::uint64_t unit = whole ? kCluster : 512;
    r.length = unit * (1 + random_() % (whole ? 2 : 40));
    r.offset = random_() % ((kDisk - r.length) / unit + 1) * unit;
    r.data = buffer.data();
    std::memset(buffer.data(), static_cast<int>(1 + random_() % 255), r.length);
    return r;
  }

  static Looper work(CopyUnderLoad& self) {
    ++self.workers_;
    AlignedBuffer buffer(2 * kCluster);
    for (int i = 0; i < 40; ++i) {
      const Request request = self.random_request(buffer);
      const int result = co_await self.device_->execute(request);
      EXPECT_EQ(result, 0);
    }
    --self.workers_;
  }

  /// One small step of the copy: everything that can lie between two of its system calls does.
  void copy_step() {
    if (pending_.start < pending_.end) return read_some();
    if (next_ < ready_) {
      pending_ = extents_[next_++];
      return;
    }
    const auto used = device_->top_used_bytes();
    ASSERT_TRUE(used);
    if (!full_pass_done_) {
      full_end_ = std::max(full_end_, position_ == 0 ? *used : full_end_);
      pending_ = {position_, std::min(position_ + kCluster, full_end_)};
      position_ = pending_.end;
      ASSERT_TRUE(device_->track_set(position_));
      full_pass_done_ = position_ == full_end_;
      return;
    }
    const auto batch = device_->track_read(std::span(extents_).first(1 + random_() % extents_.size()));
    ASSERT_TRUE(batch) << batch.error().message();
    ready_ = batch->count;
    next_ = 0;
  }

  void read_some() {
    const std::uint64_t size =
        std::min<std::uint64_t>(pending_.end - pending_.start, 512 * (1 + random_() % 32));
    if (copy_.size() < pending_.start + size) copy_.resize(pending_.start + size);
    const std::span piece = std::span(copy_).subspan(pending_.start, size);
    ASSERT_EQ(files_.back()->read(piece, pending_.start), static_cast<std::int64_t>(size))
        << "inside the file";
    pending_.start += size;
  }

  /// No more requests: the device calms down, and the tracker says when the copy is right.
  void finish() {
    for (int round = 0; round < 10'000; ++round) {
      if (full_pass_done_ && next_ == ready_ && pending_.start == pending_.end && device_->track_stop())
        return;
      copy_step();
      ring_.run_once(true);
    }
    FAIL() << "the tracker never lets itself be stopped";
  }

  void compare() {
    const auto used = device_->top_used_bytes();
    ASSERT_TRUE(used);
    ASSERT_GE(copy_.size(), *used);
    std::vector<std::byte> file(copy_.size());
    ASSERT_EQ(files_.back()->read(file, 0), static_cast<std::int64_t>(file.size()));
    const auto differ = std::ranges::mismatch(file, copy_);
    ASSERT_TRUE(differ.in1 == file.end()) << "first difference at byte " << differ.in1 - file.begin();
  }

  std::mt19937_64 random_;
  io::SimRing ring_;
  std::vector<std::unique_ptr<io::MemoryFile>> files_;
  std::vector<std::uint64_t> memory_;
  std::unique_ptr<Device> device_;
  int workers_ = 0;
  std::uint64_t speed_ = 0;  ///< steps of the copy per step of the device, at most
  std::vector<std::byte> copy_;
  std::array<FileExtent, 5> extents_;
  std::size_t ready_ = 0;
  std::size_t next_ = 0;
  FileExtent pending_;
  std::uint64_t position_ = 0;
  std::uint64_t full_end_ = 0;
  bool full_pass_done_ = false;
};

Looper execute(Device& device, Request request, int& result) {
  result = co_await device.execute(request);
}

TEST(TrackerInADevice, DoesNotStopWhileAWriteIsUnderWay) {
  io::SimRing ring;
  io::MemoryFile file("image");
  CopyUnderLoad::make_image(file, true);
  DeviceConfig config;
  auto delta = image::Delta::open(std::make_unique<Borrowed>(file), image::Kind::Ploop1, {.writable = true});
  ASSERT_TRUE(delta);
  config.deltas.push_back(std::move(*delta));
  std::vector<std::uint64_t> memory(Device::map_bytes(config.deltas) / 8);
  config.map_memory = std::as_writable_bytes(std::span(memory));
  auto device = Device::open(ring, std::move(config));
  ASSERT_TRUE(device);
  ASSERT_TRUE((*device)->track_start());
  ASSERT_TRUE((*device)->track_set((*device)->top_used_bytes().value()));
  AlignedBuffer data(4096);
  const Request requests[] = {{Request::Op::Write, false, false, 0, 4096, data.data()},
                              {Request::Op::WriteZeroes, false, true, 4096, 4096, nullptr}};
  for (const Request& request : requests) {
    int result = 1;
    execute(**device, request, result);
    const auto refused = (*device)->track_stop();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ExitCode::Busy);
    ASSERT_TRUE(ring.run_until([&] { return result == 0; }));
    EXPECT_FALSE((*device)->track_stop()) << "now it is recorded";
    std::array<FileExtent, 8> out;
    EXPECT_GT((*device)->track_read(out).value().count, 0u);
  }
  ASSERT_TRUE((*device)->close());
}

TEST(TrackerInADevice, ACopyMadeUnderLoadIsEqualToTheFileWhenTheTrackerStops) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    CopyUnderLoad copy(seed);
    copy.run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace ploop::engine
