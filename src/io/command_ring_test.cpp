// What can be seen without a driver of interest: answers arrive, refusals too, and several after each other
// don't mix.
#include "io/command_ring.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/fd.hpp"
#include "io/uring_ring.hpp"

namespace ploop::io {
namespace {

constexpr std::chrono::milliseconds kPatience{5000};

/// A file whose driver takes no commands.
Fd plain_file() {
  char pattern[] = "/tmp/ploop_command_XXXXXX";
  Fd file{::mkstemp(pattern)};
  ::unlink(pattern);
  return file;
}

TEST(CommandRing, GivesTheAnswerOfEachCommand) {
  auto ring = CommandRing::create();
  if (!ring) GTEST_SKIP() << "needs a kernel with large submission entries: " << ring.error().message();
  const Fd file = plain_file();
  const std::array<std::byte, CommandRing::kMaxBody> body{};
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ((*ring)->run(file.get(), 1, body, kPatience), -EOPNOTSUPP);
  EXPECT_EQ((*ring)->run(-1, 1, body, kPatience), -EBADF);
  EXPECT_EQ((*ring)->run(file.get(), 1, {}, kPatience), -EOPNOTSUPP);
}

TEST(CommandRing, RefusesABodyThatDoesNotFit) {
  auto ring = CommandRing::create();
  if (!ring) GTEST_SKIP() << "needs a kernel with large submission entries: " << ring.error().message();
  const std::array<std::byte, CommandRing::kMaxBody + 1> body{};
  EXPECT_EQ((*ring)->run(plain_file().get(), 1, body, kPatience), -EINVAL);
}

struct Flag : Completion {
  Flag() {
    finished = [](Completion* c) { static_cast<Flag*>(c)->done = true; };
  }
  bool done = false;
};

TEST(UringCommand, TheDriversAnswerComesOnceAndIsNotTriedAgain) {
  auto ring = UringRing::create(8);
  ASSERT_TRUE(ring) << ring.error().message();
  const Fd file = plain_file();
  std::array<Flag, 20> flags;
  for (Flag& flag : flags) {
    DeviceCommand command;
    command.fd = file.get();
    command.opcode = 1;
    (*ring)->submit_command(command, &flag);
  }
  EXPECT_TRUE((*ring)->push());
  for (const Flag& flag : flags) {
    while (!flag.done)
      (*ring)->run_once(true);
    EXPECT_TRUE(flag.result == -EOPNOTSUPP || flag.result == -EINVAL) << flag.result;  // EINVAL: before 5.19
  }
}

}  // namespace
}  // namespace ploop::io
