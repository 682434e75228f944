// The pump against a kernel that the test plays. The real one is in tests/vm.
#include "transport/ublk/pump.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "io/memory_file.hpp"
#include "io/sim_ring.hpp"

namespace ploop::transport::ublk {
namespace {

constexpr std::uint64_t kDeviceBytes = 4 << 20;
constexpr Geometry kGeometry{2, 4, 64 * 1024, DataPath::Copy, true};

struct Slot {
  unsigned queue;
  unsigned tag;
  auto operator<=>(const Slot&) const = default;
};

/// The driver: holds commands, hands out requests, remembers results and checks the protocol.
class FakeKernel {
 public:
  struct Command {
    std::uint32_t opcode = 0;
    IoBody body;
    std::uint64_t buffer = 0;
    io::Completion* done = nullptr;
  };
  std::map<Slot, Command> held;  ///< commands that wait for a request
  std::map<Slot, IoDesc> requests;
  std::map<Slot, std::vector<std::int32_t>> results;
  std::map<Slot, std::vector<std::byte>> data;  ///< user copy: of the request in progress
  bool refuse_push = false;
  bool refuse_copies = false;

  void take(std::uint32_t opcode, const IoBody& body, std::uint64_t buffer, io::Completion* done) {
    const Slot slot{body.queue, body.tag};
    EXPECT_EQ(held.count(slot), 0u) << "two commands for one tag";
    EXPECT_EQ(opcode == kFetch, seen_.insert({slot, true}).second)
        << "fetch is for the first time, commit for all others";
    if (opcode == kCommitAndFetch) results[slot].push_back(body.result);
    held[slot] = {opcode, body, buffer, done};
  }
  /// Lets a tag's command come back with this result.
  void complete(Slot slot, int result) {
    const auto command = held.find(slot);
    ASSERT_NE(command, held.end());
    io::Completion* done = command->second.done;
    held.erase(command);
    done->result = result;
    done->finished(done);
  }
  void send(Slot slot, std::uint32_t op_flags, std::uint64_t start_sector, std::uint32_t sectors) {
    requests[slot] = {op_flags, sectors, start_sector, 0};
    complete(slot, 0);
  }
  /// What STOP_DEV does to all commands.
  void stop() {
    while (!held.empty())
      complete(held.begin()->first, -ENODEV);
  }

 private:
  std::map<Slot, bool> seen_;
};

class FakeServer final : public Server {
 public:
  explicit FakeServer(FakeKernel& kernel) : kernel_(kernel) {}
  void submit(std::uint32_t opcode, const IoBody& body, std::uint64_t buffer, io::Completion* done) override {
    kernel_.take(opcode, body, buffer, done);
  }
  bool push() override { return !kernel_.refuse_push; }
  [[nodiscard]] IoDesc request(unsigned queue, unsigned tag) const override {
    return kernel_.requests.at({queue, tag});
  }
  bool copy_in(unsigned queue, unsigned tag, std::span<std::byte> to) override {
    const std::vector<std::byte>& from = kernel_.data.at({queue, tag});
    EXPECT_EQ(from.size(), to.size());
    std::ranges::copy(from, to.begin());
    return !kernel_.refuse_copies;
  }
  bool copy_out(unsigned queue, unsigned tag, std::span<const std::byte> from) override {
    kernel_.data[{queue, tag}].assign(from.begin(), from.end());
    return !kernel_.refuse_copies;
  }

 private:
  FakeKernel& kernel_;
};

class UblkPump : public testing::Test {
 protected:
  void make(const Geometry& geometry) {
    geometry_ = geometry;
    auto file = std::make_unique<io::MemoryFile>("image");
    file_ = file.get();
    ASSERT_EQ(file->truncate(kDeviceBytes), 0);
    image::OpenOptions open;
    open.writable = true;
    open.raw_cluster_sectors = 64;
    engine::DeviceConfig config;
    config.deltas.push_back(image::Delta::open(std::move(file), image::Kind::Raw, open).value());
    map_.resize(engine::Device::map_bytes(config.deltas));
    config.map_memory = map_;
    device_ = engine::Device::open(ring_, std::move(config)).value();
    pump_ = Pump::create(ring_, *device_, std::make_unique<FakeServer>(kernel_), geometry).value();
  }
  /// The buffer that a tag gave with its command.
  std::span<std::byte> buffer(Slot slot) {
    return {reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(kernel_.held.at(slot).body.address)),
            geometry_.max_transfer};
  }
  void settle() {
    while (ring_.run_once(false)) {
    }
  }
  int request(Slot slot, std::uint32_t op_flags, std::uint64_t start, std::uint32_t sectors) {
    kernel_.send(slot, op_flags, start, sectors);
    settle();
    return kernel_.results[slot].back();
  }
  /// Zero copy: the next request's pages, which the driver registers where the tag's command says. Apart from
  /// kernel_.data, so that a test sees which way the data went.
  std::span<const std::byte> register_pages(Slot slot, const std::vector<std::byte>& content) {
    AlignedBuffer& memory = pages_[slot] = AlignedBuffer(content.size());
    std::ranges::copy(content, memory.data());
    ring_.set_buffer(static_cast<std::uint16_t>(kernel_.held.at(slot).buffer),
                     {memory.data(), memory.size()});
    kernel_.data[slot] = content;
    return {memory.data(), memory.size()};
  }
  void make_zero_copy() {
    Geometry geometry = kGeometry;
    geometry.path = DataPath::ZeroCopy;
    make(geometry);
    ASSERT_TRUE(pump_->greet());
  }
  void stop() {
    kernel_.stop();
    EXPECT_TRUE(pump_->run());
    EXPECT_TRUE(device_->close());
  }
  static std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
      bytes[i] = static_cast<std::byte>(seed + i / 512 * 7 + i);
    return bytes;
  }

  Geometry geometry_;
  FakeKernel kernel_;
  std::map<Slot, AlignedBuffer> pages_;
  std::vector<std::byte> map_;
  io::SimRing ring_;
  io::MemoryFile* file_ = nullptr;  ///< the device's
  std::unique_ptr<engine::Device> device_;
  std::unique_ptr<Pump> pump_;
};

TEST_F(UblkPump, FetchesForEveryTagWithMemoryOfItsOwn) {
  make(kGeometry);
  ASSERT_TRUE(pump_->greet());
  ASSERT_EQ(kernel_.held.size(), 8u);
  std::vector<std::uint64_t> addresses;
  for (const auto& [slot, command] : kernel_.held) {
    EXPECT_EQ(command.opcode, kFetch);
    addresses.push_back(command.body.address);
  }
  std::ranges::sort(addresses);
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    EXPECT_EQ(addresses[i] % 4096, 0u);
    if (i > 0) {
      EXPECT_GE(addresses[i] - addresses[i - 1], kGeometry.max_transfer);
    }
  }
  stop();
}

TEST_F(UblkPump, WhatIsWrittenIsRead) {
  make(kGeometry);
  ASSERT_TRUE(pump_->greet());
  const std::vector<std::byte> data = pattern(64 * 1024, 3);
  std::ranges::copy(data, buffer({0, 2}).begin());
  EXPECT_EQ(request({0, 2}, kOpWrite, 16, 128), 64 * 1024);
  const std::span<std::byte> answer = buffer({1, 3});
  EXPECT_EQ(request({1, 3}, kOpRead, 16, 128), 64 * 1024);
  EXPECT_TRUE(std::ranges::equal(answer.first(data.size()), data));
  EXPECT_EQ(request({1, 3}, kOpFlush, 0, 0), 0);
  EXPECT_EQ(request({1, 3}, kOpWriteZeroes, 16, 8), 0);
  EXPECT_EQ(request({1, 3}, kOpRead, 16, 8), 4096);
  EXPECT_TRUE(std::ranges::all_of(answer.first(4096), [](std::byte b) { return b == std::byte{0}; }));
  stop();
}

TEST_F(UblkPump, ARefusedRequestIsAnsweredAndTheTagGoesOn) {
  make(kGeometry);
  ASSERT_TRUE(pump_->greet());
  EXPECT_EQ(request({0, 0}, kOpRead, kDeviceBytes / 512, 8), -EIO);
  EXPECT_EQ(request({0, 0}, 77, 0, 8), -EOPNOTSUPP);
  EXPECT_EQ(request({0, 0}, kOpWrite, 0, 1024), -EINVAL);
  EXPECT_EQ(request({0, 0}, kOpRead, 0, 8), 4096);
  stop();
}

TEST_F(UblkPump, AStopEndsItWhenTheLastRequestIsAnswered) {
  make(kGeometry);
  ASSERT_TRUE(pump_->greet());
  kernel_.send({0, 1}, kOpWrite, 0, 8);
  kernel_.stop();  // all but the one that runs
  settle();
  ASSERT_EQ(kernel_.held.size(), 1u);
  EXPECT_EQ((kernel_.results[{0, 1}]), std::vector<std::int32_t>{4096});
  stop();
}

TEST_F(UblkPump, AnUnexpectedAnswerIsAnErrorAndWaitsForRunningRequests) {
  make(kGeometry);
  ASSERT_TRUE(pump_->greet());
  kernel_.send({1, 1}, kOpWrite, 0, 8);
  kernel_.complete({0, 0}, -EBUSY);
  const Status served = pump_->run();
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().sys_errno, EBUSY);
  EXPECT_EQ((kernel_.results[{1, 1}]), std::vector<std::int32_t>{4096});
  EXPECT_TRUE(device_->close());
}

TEST_F(UblkPump, RefusedCommandsAreAnError) {
  make(kGeometry);
  kernel_.refuse_push = true;
  const Status greeted = pump_->greet();
  ASSERT_FALSE(greeted);
  EXPECT_EQ(greeted.error().code, ExitCode::Device);
}

/// The kernel sends again what a dead worker had not committed; the next one meets it as something new, and
/// its effect is the same.
TEST_F(UblkPump, ARequestThatIsSentAgainHasTheSameResult) {
  make(kGeometry);
  ASSERT_TRUE(pump_->take_over());
  const std::vector<std::byte> data = pattern(4096, 9);
  for (const Slot slot : {Slot{0, 0}, Slot{1, 2}}) {
    std::ranges::copy(data, buffer(slot).begin());
    EXPECT_EQ(request(slot, kOpWrite | kIoFua, 8, 8), 4096);
  }
  const std::span<std::byte> answer = buffer({0, 3});
  EXPECT_EQ(request({0, 3}, kOpRead, 8, 8), 4096);
  EXPECT_TRUE(std::ranges::equal(answer.first(data.size()), data));
  stop();
}

TEST_F(UblkPump, UserCopyMovesTheDataItself) {
  Geometry geometry = kGeometry;
  geometry.path = DataPath::UserCopy;
  make(geometry);
  ASSERT_TRUE(pump_->greet());
  for (const auto& [slot, command] : kernel_.held)
    EXPECT_EQ(command.body.address, 0u);
  kernel_.data[{0, 0}] = pattern(8192, 5);
  EXPECT_EQ(request({0, 0}, kOpWrite, 32, 16), 8192);
  EXPECT_EQ(request({1, 0}, kOpRead, 32, 16), 8192);
  EXPECT_EQ((kernel_.data[{1, 0}]), pattern(8192, 5));
  kernel_.refuse_copies = true;
  EXPECT_EQ(request({0, 0}, kOpWrite, 32, 16), -EIO);
  EXPECT_EQ(request({1, 0}, kOpRead, 32, 16), -EIO);
  stop();
}

TEST_F(UblkPump, ZeroCopyWantsABufferOfItsOwnForEveryTag) {
  make_zero_copy();
  std::vector<std::uint64_t> buffers;
  for (const auto& [slot, command] : kernel_.held) {
    EXPECT_EQ(command.body.address, 0u);
    EXPECT_EQ(command.buffer, auto_buffer(static_cast<std::uint16_t>(command.buffer)))
        << "a fallback is allowed";
    buffers.push_back(command.buffer & 0xffff);
  }
  std::ranges::sort(buffers);
  EXPECT_EQ(buffers, (std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  register_pages({1, 2}, std::vector<std::byte>(4096));
  const std::uint64_t first = kernel_.held.at({1, 2}).buffer;
  EXPECT_EQ(request({1, 2}, kOpRead, 0, 8), 4096);
  EXPECT_EQ(kernel_.held.at({1, 2}).buffer, first) << "and for the next request, too";
  stop();
}

TEST_F(UblkPump, ZeroCopyMovesNothingItself) {
  make_zero_copy();
  kernel_.refuse_copies = true;
  register_pages({0, 1}, pattern(8192, 5));
  EXPECT_EQ(request({0, 1}, kOpWrite, 32, 16), 8192);
  const std::span<const std::byte> answer = register_pages({1, 3}, std::vector<std::byte>(8192));
  EXPECT_EQ(request({1, 3}, kOpRead, 32, 16), 8192);
  EXPECT_TRUE(std::ranges::equal(answer, pattern(8192, 5)));
  EXPECT_EQ(request({1, 3}, kOpFlush, 0, 0), 0);
  EXPECT_EQ(request({1, 3}, kOpWriteZeroes, 32, 8), 0);
  EXPECT_EQ(request({1, 3}, kOpRead, kDeviceBytes / 512, 8), -EIO);
  stop();
}

TEST_F(UblkPump, ZeroCopyCopiesWhatTheEngineHasToSee) {
  make_zero_copy();
  // FUA is a write and a flush.
  register_pages({0, 1}, pattern(8192, 6));
  EXPECT_EQ(request({0, 1}, kOpWrite | kIoFua, 32, 16), 8192);
  // Pages that the driver could not register.
  ring_.set_buffer(static_cast<std::uint16_t>(kernel_.held.at({0, 2}).buffer), {});
  kernel_.data[{0, 2}].clear();
  EXPECT_EQ(request({0, 2}, kOpRead | kIoNoBuffer, 32, 16), 8192);
  EXPECT_EQ((kernel_.data[{0, 2}]), pattern(8192, 6));
  kernel_.data[{0, 2}] = pattern(4096, 7);
  EXPECT_EQ(request({0, 2}, kOpWrite | kIoNoBuffer, 32, 8), 4096);
  const std::span<const std::byte> answer = register_pages({1, 0}, std::vector<std::byte>(4096));
  EXPECT_EQ(request({1, 0}, kOpRead, 32, 8), 4096);
  EXPECT_TRUE(std::ranges::equal(answer, pattern(4096, 7)));
  kernel_.refuse_copies = true;
  kernel_.data[{0, 1}] = pattern(8192, 6);
  EXPECT_EQ(request({0, 1}, kOpWrite | kIoFua, 32, 16), -EIO);
  EXPECT_EQ(request({0, 2}, kOpRead | kIoNoBuffer, 32, 16), -EIO);
  stop();
}

/// A buffer filled in part holds what the kernel had there before, so the request is executed anew, into
/// memory.
TEST_F(UblkPump, ZeroCopyReadsBehindTheEndOfAFileAsZeros) {
  make_zero_copy();
  ASSERT_EQ(file_->truncate(kDeviceBytes / 2), 0);
  register_pages({1, 0}, pattern(8192, 9));
  EXPECT_EQ(request({1, 0}, kOpRead, kDeviceBytes / 1024 - 8, 16), 8192);
  EXPECT_EQ((kernel_.data[{1, 0}]), std::vector<std::byte>(8192)) << "not what was there before";
  stop();
}

}  // namespace
}  // namespace ploop::transport::ublk
