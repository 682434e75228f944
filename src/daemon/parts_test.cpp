// The daemon's parts that need no device: messages with descriptors, the admin socket.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>

#include "daemon/admin.hpp"
#include "daemon/channel.hpp"
#include "daemon/kernel_side.hpp"
#include "daemon/server_message.hpp"
#include "daemon/stopped_call.hpp"

namespace ploop::daemon {
namespace {

TEST(Channel, DescriptorTravelsWithItsMessage) {
  auto ends = Channel::pair().value();
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  Fd reading{pipe_ends[0]};
  Fd writing{pipe_ends[1]};
  ASSERT_TRUE(ends.first.send("before", "{\"n\":1}"));
  ASSERT_TRUE(ends.first.send("opened", "{}", writing.get()));
  ASSERT_TRUE(ends.first.send("after"));
  writing.reset();

  EXPECT_FALSE(ends.second.wait(1000).value().descriptor);
  const Message opened = ends.second.wait(1000).value();
  EXPECT_EQ(opened.name, "opened");
  ASSERT_TRUE(opened.descriptor);
  EXPECT_FALSE(ends.second.wait(1000).value().descriptor);
  ASSERT_EQ(::write(opened.descriptor.get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(reading.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(Channel, SendingToWhoDoesNotListenEnds) {
  auto ends = Channel::pair().value();
  ends.first.limit_sending(std::chrono::milliseconds(20));
  const std::string body = "{\"much\":\"" + std::string(10'000, 'x') + "\"}";
  Status sent;
  for (int i = 0; i < 10'000 && sent; ++i)
    sent = ends.first.send("ignored", body);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().sys_errno, EAGAIN);
}

TEST(ServerMessage, ComesBackAsItWas) {
  using transport::ublk::DataPath;
  for (const DataPath path : {DataPath::Copy, DataPath::UserCopy, DataPath::ZeroCopy}) {
    const ServerMessage message{{2, 32, 128 * 1024, path, false}, 7};
    EXPECT_EQ(decode_server(encode_server(message)).value(), message);
  }
  EXPECT_EQ(decode_server("{}").error().code, ExitCode::Protocol);
  EXPECT_EQ(
      decode_server(
          R"({"queues":70000,"depth":1,"max_transfer":1,"user_copy":false,"can_resize":false,"generation":0})")
          .error()
          .code,
      ExitCode::Protocol);
}

/// After an upgrade the keeper is still the older program's.
TEST(ServerMessage, OfAKeeperThatKnowsNoZeroCopyIsUnderstood) {
  const auto message = decode_server(
      R"({"queues":1,"depth":8,"max_transfer":4096,"user_copy":true,"can_resize":true,"generation":3})");
  EXPECT_EQ(message.value().geometry.path, transport::ublk::DataPath::UserCopy);
}

TEST(ChooseTransport, NamesAreThoseOfTheManual) {
  EXPECT_EQ(choose_transport("fuse").value(), "fuse");
  EXPECT_EQ(choose_transport("nbd").error().code, ExitCode::Param);
  EXPECT_EQ(choose_transport("ublk:no-copy").error().code, ExitCode::Param);
  EXPECT_EQ(choose_transport("").error().code, ExitCode::Param);
}

/// Whatever this kernel has, "auto" finds something, and it is what "ublk" says.
TEST(ChooseTransport, AutoIsUblkExactlyWhereUblkCanBeHad) {
  const Result<std::string> forced = choose_transport("ublk");
  EXPECT_EQ(choose_transport("auto").value(), forced ? "ublk" : "fuse");
  if (!forced) {
    EXPECT_EQ(forced.error().code, ExitCode::Device);
    EXPECT_FALSE(forced.error().message().empty());
  }
}

/// What was asked for by name is what it becomes, or an error that says why; never something else in its
/// place.
TEST(ChooseTransport, AWayOfCopyingThatTheKernelLacksIsRefused) {
  for (const std::string_view name : {"ublk:user-copy", "ublk:zero-copy"}) {
    EXPECT_TRUE(is_ublk(name));
    const Result<std::string> chosen = choose_transport(name);
    if (chosen) {
      EXPECT_EQ(*chosen, name);
      continue;
    }
    EXPECT_EQ(chosen.error().code, ExitCode::Device);
    EXPECT_FALSE(chosen.error().message().empty());
  }
}

TEST(DiscardGranularity, IsTheClusterWhereThereIsDataBelow) {
  control::DeviceState state;
  state.cluster_sectors = 2048;
  state.deltas.resize(1);
  EXPECT_EQ(discard_granularity(state), 4096u);
  state.deltas.resize(2);
  EXPECT_EQ(discard_granularity(state), 1048576u);
}

TEST(Channel, ClaimedDescriptorThatDidNotComeIsRefused) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Channel channel{Fd{ends[0]}};
  const Fd other{ends[1]};
  const std::string_view line = "{\"opened\":{},\"descriptor\":true}\n";
  ASSERT_EQ(::write(other.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
  EXPECT_FALSE(channel.wait(1000));
}

TEST(StoppedCall, IsFoundInTheKernelsRecord) {
  const std::string_view record =
      "5,2101,13131413641,-;audit: type=1326 audit(1795278068.116:10): auid=4294967295 uid=0 gid=0 "
      "ses=4294967295 pid=27598 "
      "comm=\"ploopd\" exe=\"/usr/libexec/ploop/ploopd\" sig=31 arch=c000003e syscall=88 compat=0 "
      "ip=0x7fcd0731f829 code=0x80000000\n";
  EXPECT_EQ(stopped_call_in(record, 27598), 88);
  EXPECT_EQ(stopped_call_in(record, 2759), -1) << "another process";
  EXPECT_EQ(stopped_call_in("6,1,2,-;loop0: detected pid=27598 syscall=88", 27598), -1) << "another kind";
  EXPECT_EQ(stopped_call_in("", 27598), -1);
}

class AdminTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the admin socket answers root only";
    Fd listening{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;  // an empty name: the kernel chooses one
    ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
    ASSERT_EQ(::listen(listening.get(), 8), 0);
    length_ = sizeof address_;
    ASSERT_EQ(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address_), &length_), 0);
    admin_ = Admin(std::move(listening));
  }
  Fd connect() {
    Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address_), length_), 0);
    turn();  // accepts
    return socket;
  }
  /// One round of the guardian's loop.
  void turn() {
    std::vector<pollfd> fds;
    admin_.add_to(fds);
    if (::poll(fds.data(), fds.size(), 100) <= 0) return;
    admin_.handle(
        fds,
        [this](std::uint64_t connection, const control::Request& request) {
          asked_.emplace_back(connection, request);
        },
        [this](std::uint64_t connection) { closed_.push_back(connection); });
  }
  static std::string line_of(const Fd& socket) {
    char bytes[256];
    const ssize_t n = ::recv(socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    return n > 0 ? std::string(bytes, static_cast<std::size_t>(n)) : "";
  }
  static void say(const Fd& socket, std::string_view bytes) {
    ASSERT_EQ(::write(socket.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  sockaddr_un address_{};
  socklen_t length_ = 0;
  Admin admin_;
  std::vector<std::pair<std::uint64_t, control::Request>> asked_;
  std::vector<std::uint64_t> closed_;
};

TEST_F(AdminTest, AnswersTheOneWhoAsked) {
  const Fd first = connect();
  const Fd second = connect();
  say(second, "{\"id\":7,\"method\":\"up");
  turn();
  EXPECT_TRUE(asked_.empty());
  say(second, "grade\",\"params\":{}}\n");
  turn();
  ASSERT_EQ(asked_.size(), 1u);
  EXPECT_EQ(asked_[0].second.method, "upgrade");
  admin_.reply(asked_[0].first, asked_[0].second.id, std::string("{\"done\":1}"));
  EXPECT_EQ(line_of(first), "");
  EXPECT_NE(line_of(second).find("\"done\""), std::string::npos);
}

TEST_F(AdminTest, MalformedRequestEndsItsConnectionOnly) {
  const Fd bad = connect();
  const Fd good = connect();
  say(bad, "garbage\n");
  turn();
  EXPECT_NE(line_of(bad).find("error"), std::string::npos);
  ASSERT_EQ(closed_.size(), 1u);
  say(good, "{\"id\":1,\"method\":\"x\",\"params\":{}}\n");
  turn();
  EXPECT_EQ(asked_.size(), 1u);
}

}  // namespace
}  // namespace ploop::daemon
