#include "base/subprocess.hpp"

#include <gtest/gtest.h>

namespace ploop {
namespace {

TEST(Subprocess, CollectsOutputAndStatus) {
  const auto ran = run_program({"sh", "-c", "echo out; echo err >&2; exit 3"});
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->status, 3);
  EXPECT_EQ(ran->output, "out\nerr\n");
}

TEST(Subprocess, FeedsInput) {
  RunOptions options;
  options.input = std::string(200000, 'x');
  const auto ran = run_program({"wc", "-c"}, options);
  ASSERT_TRUE(ran);
  EXPECT_EQ(ran->output, "200000\n");
}

TEST(Subprocess, CheckedFailureQuotesTheLastLine) {
  const auto ran = run_checked({"sh", "-c", "echo first; echo last; exit 1"}, ExitCode::Mkfs);
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, ExitCode::Mkfs);
  EXPECT_EQ(ran.error().what, "Command sh exited with code 1 (last)");
}

TEST(Subprocess, MissingProgramIsAnError) {
  const auto ran = run_program({"no-such-program-anywhere"});
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, ExitCode::System);
}

}  // namespace
}  // namespace ploop
