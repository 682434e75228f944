// Server and client over a real socket, with hostile and rude peers.
#include "control/server.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <mutex>

#include "base/paths.hpp"
#include "control/client.hpp"
#include "control/process.hpp"
#include "control/registry.hpp"

namespace ploop::control {
namespace {

class ControlSocket : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ploop-control-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    // Longer than a socket address may be.
    directory_ = pattern;
    ::setenv("PLOOP_RUNDIR", (directory_ + "/" + std::string(120, 'd')).c_str(), 1);
    std::filesystem::create_directories(device_run_directory(0));
  }
  void TearDown() override {
    end_server();
    ::unsetenv("PLOOP_RUNDIR");
    std::filesystem::remove_all(directory_);
  }
  void serve(std::function<std::string(const Request&)> answer) {
    Result<Fd> listening = listen_at(control_path(0));
    ASSERT_TRUE(listening) << listening.error().message();
    answer_ = std::move(answer);
    auto server = Server::start(*std::move(listening), [this](const Call& call) {
      // The end of a connection may be noticed when the test, whose variables `answer_` uses, is over.
      if (!call.closed) server_->reply(call, answer_(call.request));
    });
    ASSERT_TRUE(server);
    server_ = *std::move(server);
  }
  /// The thread ends before the pointer that its handler uses goes.
  void end_server() {
    if (server_) server_->stop();
    server_.reset();
  }
  static std::string talk(const std::string& bytes) {
    const Result<Fd> socket = connect_to(control_path(0));
    if (!socket) return "no connection";
    if (::send(socket->get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return "no send";
    ::shutdown(socket->get(), SHUT_WR);
    return read_all(socket->get(), 1 << 20, "socket").value_or("error");
  }
  std::string directory_;
  std::function<std::string(const Request&)> answer_;
  std::unique_ptr<Server> server_;
};

TEST_F(ControlSocket, AnswersCalls) {
  serve([](const Request& r) {
    return r.method == "ping" ? encode_result(r.id, "{}") : encode_error(r.id, {ExitCode::Busy, EBUSY, "no"});
  });
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client) << client.error().message();
  EXPECT_TRUE(client->ping());
  const Status flushed = client->flush();
  ASSERT_FALSE(flushed);
  EXPECT_EQ(flushed.error().code, ExitCode::Busy);
  EXPECT_EQ(flushed.error().sys_errno, EBUSY);
  EXPECT_TRUE(client->ping());
}

TEST_F(ControlSocket, TransfersStatistics) {
  DeviceStats stats;
  stats.writes = 12345;
  serve([&](const Request& r) { return encode_result(r.id, encode_stats(stats)); });
  EXPECT_EQ(Client::connect(0)->stats()->writes, 12345u);
}

TEST_F(ControlSocket, AnswersMalformedLinesAndHangsUp) {
  serve([](const Request& r) { return encode_result(r.id, "{}"); });
  const std::string answer = talk("nonsense\n{\"id\":1,\"method\":\"ping\"}\n");
  EXPECT_NE(answer.find("SYSEXIT_PROTOCOL"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("result"), std::string::npos) << answer;
  EXPECT_TRUE(Client::connect(0)->ping());
}

TEST_F(ControlSocket, TurnsEndlessLinesAway) {
  serve([](const Request& r) { return encode_result(r.id, "{}"); });
  const Result<Fd> socket = connect_to(control_path(0));
  ASSERT_TRUE(socket);
  const std::string piece(4096, 'x');
  std::size_t sent = 0;
  while (sent<64 * kMaxLine&& ::send(socket->get(), piece.data(), piece.size(), MSG_NOSIGNAL)> 0)
    sent += piece.size();
  EXPECT_LT(sent, 64 * kMaxLine);
  EXPECT_TRUE(Client::connect(0)->ping());
}

TEST_F(ControlSocket, SurvivesPeersThatLeaveWithoutListening) {
  serve([](const Request& r) { return encode_result(r.id, "{\"a\":\"" + std::string(60000, 'a') + "\"}"); });
  for (int i = 0; i < 50; ++i) {
    const Result<Fd> socket = connect_to(control_path(0));
    ASSERT_TRUE(socket);
    const std::string line = encode_request({1, "info", "{}"});
    ::send(socket->get(), line.data(), line.size(), MSG_NOSIGNAL);
  }
  EXPECT_TRUE(Client::connect(0)->ping());
}

TEST_F(ControlSocket, IdlePeersDoNotKeepOthersOut) {
  serve([](const Request& r) { return encode_result(r.id, "{}"); });
  std::vector<Fd> idle;
  for (int i = 0; i < 10; ++i)
    idle.push_back(connect_to(control_path(0)).value());
  EXPECT_TRUE(Client::connect(0)->ping());
}

TEST_F(ControlSocket, ClientGivesUpInTime) {
  serve([](const Request&) { return std::string(); });
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client);
  client->set_timeout(std::chrono::milliseconds(50));
  const Status pinged = client->ping();
  ASSERT_FALSE(pinged);
  EXPECT_EQ(pinged.error().sys_errno, ETIMEDOUT);
}

TEST_F(ControlSocket, ClientNoticesTheEndOfTheDevice) {
  serve([](const Request&) { return std::string(); });
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client);
  end_server();
  EXPECT_FALSE(client->ping());
}

TEST_F(ControlSocket, SaysWhenAConnectionIsOver) {
  std::mutex mutex;
  std::vector<std::uint64_t> asked, over;
  Result<Fd> listening = listen_at(control_path(0));
  ASSERT_TRUE(listening);
  auto server = Server::start(*std::move(listening), [&](const Call& call) {
    const std::lock_guard guard(mutex);
    (call.closed ? over : asked).push_back(call.connection);
    if (!call.closed) server_->reply(call, encode_result(call.request.id, "{}"));
  });
  ASSERT_TRUE(server);
  server_ = *std::move(server);
  Result<Client> stays = Client::connect(0);
  ASSERT_TRUE(stays && stays->ping());
  {
    Result<Client> goes = Client::connect(0);
    ASSERT_TRUE(goes && goes->ping());
  }
  for (int i = 0; i < 500; ++i) {
    {
      const std::lock_guard guard(mutex);
      if (!over.empty()) break;
    }
    ::usleep(10'000);
  }
  EXPECT_TRUE(stays->ping());
  end_server();
  ASSERT_EQ(asked.size(), 3u);
  EXPECT_EQ(over, std::vector<std::uint64_t>{asked[1]}) << "once, and not the other one";
}

}  // namespace
}  // namespace ploop::control
