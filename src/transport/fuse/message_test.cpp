#include "transport/fuse/message.hpp"

#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace ploop::transport::fuse {
namespace {

constexpr Limits kLimits{1 << 20, 64 * 1024, true};
constexpr Limits kReadOnly{1 << 20, 64 * 1024, false};

template <typename Body>
std::vector<std::byte> message(Opcode opcode, const Body& body, std::size_t data = 0) {
  InHeader header{};
  header.len = static_cast<std::uint32_t>(sizeof header + sizeof body + data);
  header.opcode = static_cast<std::uint32_t>(opcode);
  header.unique = 77;
  std::vector<std::byte> bytes(header.len);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &body, sizeof body);
  return bytes;
}

ReadIn read_of(std::uint64_t offset, std::uint32_t size) {
  ReadIn in{};
  in.offset = offset;
  in.size = size;
  return in;
}
WriteIn write_of(std::uint64_t offset, std::uint32_t size) {
  WriteIn in{};
  in.offset = offset;
  in.size = size;
  return in;
}
FallocateIn fallocate_of(std::uint64_t offset, std::uint64_t length, std::uint32_t mode) {
  return FallocateIn{0, offset, length, mode, 0};
}

constexpr std::uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr std::uint32_t kZero = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

TEST(FuseDecode, ReadBecomesARequest) {
  const Decoded d = decode(message(Opcode::Read, read_of(4096, 8192)), kLimits);
  EXPECT_EQ(d.action, Action::Engine);
  EXPECT_EQ(d.unique, 77u);
  EXPECT_EQ(d.request.op, engine::Request::Op::Read);
  EXPECT_EQ(d.request.offset, 4096u);
  EXPECT_EQ(d.request.length, 8192u);
  EXPECT_FALSE(d.empty_read);
}

TEST(FuseDecode, ReadIsCutAtTheEndOfTheDevice) {
  EXPECT_EQ(decode(message(Opcode::Read, read_of((1 << 20) - 512, 4096)), kLimits).request.length, 512u);
  EXPECT_TRUE(decode(message(Opcode::Read, read_of(1 << 20, 4096)), kLimits).empty_read);
  EXPECT_TRUE(decode(message(Opcode::Read, read_of(~0ull << 9, 4096)), kLimits).empty_read);
}

TEST(FuseDecode, WriteBecomesARequest) {
  const Decoded d = decode(message(Opcode::Write, write_of(512, 4096), 4096), kLimits);
  EXPECT_EQ(d.action, Action::Engine);
  EXPECT_EQ(d.request.op, engine::Request::Op::Write);
  EXPECT_EQ(d.request.length, 4096u);
}

TEST(FuseDecode, DiscardFreesAndZeroRangeKeeps) {
  const Decoded punch = decode(message(Opcode::Fallocate, fallocate_of(0, 1 << 20, kPunch)), kLimits);
  EXPECT_EQ(punch.request.op, engine::Request::Op::WriteZeroes);
  EXPECT_TRUE(punch.request.unmap);
  const Decoded zero = decode(message(Opcode::Fallocate, fallocate_of(0, 512, kZero)), kLimits);
  EXPECT_EQ(zero.request.op, engine::Request::Op::WriteZeroes);
  EXPECT_FALSE(zero.request.unmap);
}

TEST(FuseDecode, FsyncIsAFlushAndCloseIsNot) {
  EXPECT_EQ(decode(message(Opcode::Fsync, 0), kLimits).request.op, engine::Request::Op::Flush);
  EXPECT_EQ(decode(message(Opcode::Flush, 0), kLimits).action, Action::Ok);
  EXPECT_EQ(decode(message(Opcode::Release, 0), kLimits).action, Action::Ok);
}

TEST(FuseDecode, ResendBitStaysInUnique) {
  std::vector<std::byte> bytes = message(Opcode::Fsync, 0);
  const std::uint64_t unique = kUniqueResend | 5;
  std::memcpy(bytes.data() + offsetof(InHeader, unique), &unique, sizeof unique);
  EXPECT_EQ(decode(bytes, kLimits).unique, unique);
}

TEST(FuseDecode, NoAnswerWhereNoneIsExpected) {
  for (const Opcode opcode : {Opcode::Forget, Opcode::BatchForget, Opcode::Interrupt}) {
    EXPECT_EQ(decode(message(opcode, std::uint64_t{0}), kLimits).action, Action::Silent);
  }
  EXPECT_EQ(decode({}, kLimits).action, Action::Silent);
}

struct Refusal {
  const char* name;
  std::vector<std::byte> bytes;
  Limits limits;
  int error;
};

std::vector<std::byte> shortened(std::vector<std::byte> bytes) {
  bytes.resize(bytes.size() - 1);
  const auto length = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}
std::vector<std::byte> with_wrong_length(std::vector<std::byte> bytes) {
  const std::uint32_t length = 1;
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}
SetAttrIn set_size() {
  SetAttrIn in{};
  in.valid = kSetAttrSize;
  return in;
}

class FuseRefusal : public testing::TestWithParam<Refusal> {};

TEST_P(FuseRefusal, GivesTheError) {
  const Decoded d = decode(GetParam().bytes, GetParam().limits);
  EXPECT_EQ(d.action, Action::Refuse);
  EXPECT_EQ(d.error, GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    All, FuseRefusal,
    testing::Values(
        Refusal{"UnknownOperation", message(static_cast<Opcode>(9999), 0), kLimits, -ENOSYS},
        Refusal{"Lseek", message(static_cast<Opcode>(46), 0), kLimits, -ENOSYS},
        Refusal{"LengthThatLies", with_wrong_length(message(Opcode::Read, read_of(0, 512))), kLimits, -EIO},
        Refusal{"ReadTooShort", shortened(message(Opcode::Read, read_of(0, 512))), kLimits, -EINVAL},
        Refusal{"ReadTooLarge", message(Opcode::Read, read_of(0, 64 * 1024 + 512)), kLimits, -EINVAL},
        Refusal{"ReadOfPartOfASector", message(Opcode::Read, read_of(0, 100)), kLimits, -EINVAL},
        Refusal{"ReadInsideASector", message(Opcode::Read, read_of(100, 512)), kLimits, -EINVAL},
        Refusal{"WriteTooShort", shortened(message(Opcode::Write, write_of(0, 512), 512)), kLimits, -EINVAL},
        Refusal{"WriteWithLessDataThanItSays", message(Opcode::Write, write_of(0, 1024), 512), kLimits,
                -EINVAL},
        Refusal{"WriteWithMoreDataThanItSays", message(Opcode::Write, write_of(0, 512), 1024), kLimits,
                -EINVAL},
        Refusal{"WriteOfNothing", message(Opcode::Write, write_of(0, 0)), kLimits, -EIO},
        Refusal{"WriteOverTheEnd", message(Opcode::Write, write_of((1 << 20) - 512, 1024), 1024), kLimits,
                -EIO},
        Refusal{"WriteFarOut", message(Opcode::Write, write_of(~0ull << 9, 512), 512), kLimits, -EIO},
        Refusal{"WriteToReadOnly", message(Opcode::Write, write_of(0, 512), 512), kReadOnly, -EROFS},
        Refusal{"DiscardOverTheEnd", message(Opcode::Fallocate, fallocate_of(512, 1 << 20, kPunch)), kLimits,
                -EIO},
        Refusal{"DiscardThatWraps", message(Opcode::Fallocate, fallocate_of(512, ~0ull << 9, kPunch)),
                kLimits, -EIO},
        Refusal{"DiscardOfPartOfASector", message(Opcode::Fallocate, fallocate_of(0, 100, kPunch)), kLimits,
                -EINVAL},
        Refusal{"DiscardOnReadOnly", message(Opcode::Fallocate, fallocate_of(0, 512, kPunch)), kReadOnly,
                -EROFS},
        Refusal{"Preallocate", message(Opcode::Fallocate, fallocate_of(0, 512, 0)), kLimits, -EOPNOTSUPP},
        Refusal{"PunchThatChangesTheSize",
                message(Opcode::Fallocate, fallocate_of(0, 512, FALLOC_FL_PUNCH_HOLE)), kLimits, -EOPNOTSUPP},
        Refusal{"Truncate", message(Opcode::SetAttr, set_size()), kLimits, -EPERM}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(FuseSetAttributes, TheSizeThatTheDeviceHasIsAccepted) {
  SetAttrIn in = set_size();
  in.size = kLimits.device_bytes;
  EXPECT_EQ(decode(message(Opcode::SetAttr, in), kLimits).action, Action::GetAttr);
  in.size += 512;
  EXPECT_EQ(decode(message(Opcode::SetAttr, in), kLimits).error, -EPERM);
}

InitIn greeting() {
  InitIn in{};
  in.major = 7;
  in.minor = 45;
  in.max_readahead = 131072;
  in.flags = static_cast<std::uint32_t>(kInitAsyncDio | kInitMaxPages | kInitBigWrites | kInitExt);
  in.flags2 = static_cast<std::uint32_t>(kInitHasResend >> 32);
  return in;
}

constexpr InitOptions kOptions{256 * 1024, 64};

TEST(FuseInit, AgreesOnWhatBothKnow) {
  const Negotiated n = negotiate(message(Opcode::Init, greeting()), kOptions);
  EXPECT_TRUE(n.accepted);
  EXPECT_TRUE(n.can_resend);
  EXPECT_EQ(n.out.major, 7u);
  EXPECT_EQ(n.out.minor, kMinor);
  EXPECT_EQ(n.out.max_write, 256u * 1024);
  EXPECT_EQ(n.out.max_pages, 64);
  EXPECT_EQ(n.out.max_background, 64);
  EXPECT_NE(n.out.flags & kInitAsyncDio, 0u);
  EXPECT_NE(n.out.flags & kInitExt, 0u);
}

TEST(FuseInit, AsksForNothingThatWasNotOffered) {
  InitIn in = greeting();
  in.flags = static_cast<std::uint32_t>(kInitAsyncDio | kInitMaxPages);
  const Negotiated n = negotiate(message(Opcode::Init, in), kOptions);
  EXPECT_TRUE(n.accepted);
  EXPECT_FALSE(n.can_resend);  // flags2 counts only with kInitExt
  EXPECT_EQ(n.out.flags, in.flags);
  EXPECT_EQ(n.out.flags2, 0u);
}

TEST(FuseInit, OlderKernelWithoutFlags2Works) {
  InitIn in = greeting();
  in.minor = 31;
  in.flags &= ~static_cast<std::uint32_t>(kInitExt);
  std::vector<std::byte> bytes = message(Opcode::Init, in);
  bytes.resize(sizeof(InHeader) + kInitInOldSize);
  const auto length = static_cast<std::uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &length, sizeof length);
  const Negotiated n = negotiate(bytes, kOptions);
  EXPECT_TRUE(n.accepted);
  EXPECT_EQ(n.out.minor, 31u);
  EXPECT_FALSE(n.can_resend);
}

TEST(FuseInit, GivesUpOnKernelsThatCanNot) {
  InitIn no_async = greeting();
  no_async.flags &= ~static_cast<std::uint32_t>(kInitAsyncDio);
  EXPECT_TRUE(negotiate(message(Opcode::Init, no_async), kOptions).give_up);
  InitIn old = greeting();
  old.minor = 20;
  EXPECT_TRUE(negotiate(message(Opcode::Init, old), kOptions).give_up);
  EXPECT_TRUE(negotiate(message(Opcode::Init, std::uint32_t{7}), kOptions).give_up);
}

TEST(FuseInit, NewerMajorIsAskedToComeBack) {
  InitIn in = greeting();
  in.major = 8;
  const Negotiated n = negotiate(message(Opcode::Init, in), kOptions);
  EXPECT_FALSE(n.accepted);
  EXPECT_FALSE(n.give_up);
  EXPECT_EQ(n.out.major, 7u);
}

TEST(FuseAttributes, DescribeOneRegularFile) {
  const AttrOut a = attributes(1 << 20, true);
  EXPECT_EQ(a.attr.size, 1u << 20);
  EXPECT_EQ(a.attr.mode, 0100600u);
  EXPECT_EQ(a.attr_valid, 0u);
  EXPECT_EQ(attributes(1, false).attr.mode, 0100400u);
  EXPECT_EQ(file_system_facts(1 << 20, 65536).bsize, 65536u);
}

}  // namespace
}  // namespace ploop::transport::fuse
