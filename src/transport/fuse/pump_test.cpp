// The pump against a packet socket that plays /dev/fuse: same messages, no privileges. The real kernel is in
// tests/device.
#include "transport/fuse/pump.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "io/posix_file.hpp"

namespace ploop::transport::fuse {
namespace {

constexpr std::uint64_t kDeviceBytes = 4 << 20;
constexpr std::uint32_t kTransfer = 64 * 1024;
constexpr unsigned kTags = 4;

struct Answer {
  OutHeader header{};
  std::vector<std::byte> data;
};

class FusePump : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ploop-pump-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    const Result<Fd> image = open_file(path(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_TRUE(image);
    ASSERT_EQ(::ftruncate(image->get(), kDeviceBytes), 0);
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel_ = Fd{ends[0]};
    daemon_ = Fd{ends[1]};
    ::fcntl(daemon_.get(), F_SETFL, O_NONBLOCK);
    server_ = std::thread([this] { serve(); });
    greet();
  }
  void TearDown() override {
    kernel_.reset();
    if (server_.joinable()) server_.join();
    EXPECT_TRUE(served_);
    std::filesystem::remove_all(directory_);
  }
  [[nodiscard]] std::string path() const { return directory_ + "/image"; }

  /// What the worker does; the ring belongs to this thread.
  void serve() {
    auto ring = io::UringRing::create(64).value();
    auto file = io::PosixFile::open(path(), {true, true, false}).value();
    image::OpenOptions open;
    open.writable = true;
    open.raw_cluster_sectors = 64;
    engine::DeviceConfig config;
    config.deltas.push_back(image::Delta::open(std::move(file), image::Kind::Raw, open).value());
    std::vector<std::byte> map(engine::Device::map_bytes(config.deltas));
    config.map_memory = map;
    auto device = engine::Device::open(*ring, std::move(config)).value();
    auto pump = Pump::create(*ring, *device, daemon_.get(), {kTags, kTransfer, 4096}).value();
    served_ = pump->greet().has_value() && pump->run().has_value() && device->close().has_value();
  }

  template <typename Body>
  void ask(Opcode opcode, std::uint64_t unique, const Body& body, std::span<const std::byte> data = {}) {
    InHeader header{};
    header.len = static_cast<std::uint32_t>(sizeof header + sizeof body + data.size());
    header.opcode = static_cast<std::uint32_t>(opcode);
    header.unique = unique;
    std::vector<std::byte> bytes(header.len);
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, &body, sizeof body);
    if (!data.empty()) std::memcpy(bytes.data() + sizeof header + sizeof body, data.data(), data.size());
    ASSERT_EQ(::send(kernel_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  Answer hear() {
    std::vector<std::byte> bytes(sizeof(OutHeader) + kTransfer);
    const ssize_t n = ::recv(kernel_.get(), bytes.data(), bytes.size(), 0);
    Answer answer;
    EXPECT_GE(n, static_cast<ssize_t>(sizeof answer.header));
    std::memcpy(&answer.header, bytes.data(), sizeof answer.header);
    EXPECT_EQ(answer.header.len, n);
    bytes.resize(static_cast<std::size_t>(n));
    answer.data.assign(bytes.begin() + sizeof answer.header, bytes.end());
    return answer;
  }
  void greet() {
    InitIn in{};
    in.major = 7;
    in.minor = 45;
    in.flags = static_cast<std::uint32_t>(kInitAsyncDio | kInitMaxPages);
    ask(Opcode::Init, 1, in);
    EXPECT_EQ(hear().header.error, 0);
  }
  void write(std::uint64_t unique, std::uint64_t offset, std::span<const std::byte> data) {
    WriteIn in{};
    in.offset = offset;
    in.size = static_cast<std::uint32_t>(data.size());
    ask(Opcode::Write, unique, in, data);
  }
  void read(std::uint64_t unique, std::uint64_t offset, std::uint32_t size) {
    ReadIn in{};
    in.offset = offset;
    in.size = size;
    ask(Opcode::Read, unique, in);
  }
  static std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
    std::vector<std::byte> data(size);
    for (std::size_t i = 0; i < size; ++i)
      data[i] = static_cast<std::byte>(seed + i / 512 * 7 + i);
    return data;
  }

  std::string directory_;
  Fd kernel_;
  Fd daemon_;
  std::thread server_;
  bool served_ = false;
};

TEST_F(FusePump, WhatIsWrittenIsRead) {
  const std::vector<std::byte> data = pattern(kTransfer, 3);
  write(10, 8192, data);
  const Answer written = hear();
  EXPECT_EQ(written.header.error, 0);
  EXPECT_EQ(written.header.unique, 10u);
  WriteOut out{};
  ASSERT_EQ(written.data.size(), sizeof out);
  std::memcpy(&out, written.data.data(), sizeof out);
  EXPECT_EQ(out.size, kTransfer);
  read(11, 8192, kTransfer);
  EXPECT_EQ(hear().data, data);
  read(12, 0, 8192);
  EXPECT_EQ(hear().data, std::vector<std::byte>(8192));
}

TEST_F(FusePump, MoreRequestsThanTagsAreAllAnswered) {
  constexpr unsigned kRequests = 64;
  for (unsigned i = 0; i < kRequests; ++i)
    write(100 + i, i * 4096, pattern(4096, i));
  std::map<std::uint64_t, int> answers;
  for (unsigned i = 0; i < kRequests; ++i) {
    const Answer a = hear();
    answers[a.header.unique] = a.header.error;
  }
  ASSERT_EQ(answers.size(), kRequests);
  for (const auto& [unique, error] : answers)
    EXPECT_EQ(error, 0) << unique;
  for (unsigned i = 0; i < kRequests; ++i) {
    read(500 + i, i * 4096, 4096);
    EXPECT_EQ(hear().data, pattern(4096, i)) << i;
  }
}

TEST_F(FusePump, DiscardedRangesReadAsZeros) {
  write(20, 0, pattern(kTransfer, 9));
  EXPECT_EQ(hear().header.error, 0);
  ask(Opcode::Fallocate, 21, FallocateIn{0, 4096, 32768, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0});
  EXPECT_EQ(hear().header.error, 0);
  ask(Opcode::Fsync, 22, std::array<std::uint64_t, 2>{});
  EXPECT_EQ(hear().header.error, 0);
  read(23, 0, kTransfer);
  std::vector<std::byte> expected = pattern(kTransfer, 9);
  std::fill_n(expected.begin() + 4096, 32768, std::byte{0});
  EXPECT_EQ(hear().data, expected);
}

TEST_F(FusePump, AnswersWithTheUniqueOfAResentRequest) {
  read(kUniqueResend | 30, 0, 512);
  EXPECT_EQ(hear().header.unique, kUniqueResend | 30);
}

TEST_F(FusePump, RefusesAndGoesOn) {
  ask(static_cast<Opcode>(46), 40, std::uint64_t{0});
  EXPECT_EQ(hear().header.error, -ENOSYS);
  ask(Opcode::Forget, 41, std::uint64_t{1});
  read(42, kDeviceBytes, 4096);
  const Answer behind_the_end = hear();
  EXPECT_EQ(behind_the_end.header.unique, 42u);
  EXPECT_EQ(behind_the_end.header.error, 0);
  EXPECT_TRUE(behind_the_end.data.empty());
  ask(Opcode::GetAttr, 43, std::array<std::uint64_t, 2>{});
  AttrOut attr{};
  const Answer answer = hear();
  ASSERT_EQ(answer.data.size(), sizeof attr);
  std::memcpy(&attr, answer.data.data(), sizeof attr);
  EXPECT_EQ(attr.attr.size, kDeviceBytes);
}

}  // namespace
}  // namespace ploop::transport::fuse
