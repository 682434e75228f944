#include <gtest/gtest.h>

#include <cerrno>

#include "base/result.hpp"

namespace ploop {
namespace {

Result<int> inner(bool ok) {
  if (!ok) return fail(errno_error(ExitCode::Read, EIO, "read header"));
  return 7;
}

Result<int> outer(bool ok) {
  const int value = TRY_CONTEXT("/a/root.hdd", inner(ok));
  return value + 1;
}

TEST(Error, KeepsTheFirstCodeAndGrowsContext) {
  EXPECT_EQ(*outer(true), 8);
  const auto failed = outer(false);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ExitCode::Read);
  EXPECT_EQ(failed.error().message(), "/a/root.hdd: read header: Input/output error");
}

TEST(RollbackSteps, RunInReverseUnlessCommitted) {
  std::string trace;
  {
    Rollback r;
    r.add([&] { trace += "a"; });
    r.add([&] { trace += "b"; });
  }
  EXPECT_EQ(trace, "ba");
  {
    Rollback r;
    r.add([&] { trace += "c"; });
    r.commit();
  }
  EXPECT_EQ(trace, "ba");
}

TEST(ExitCodes, HaveTheHistoricalNumbers) {
  EXPECT_EQ(exit_code_name(static_cast<ExitCode>(38)), "SYSEXIT_PARAM");
  EXPECT_EQ(exit_code_name(static_cast<ExitCode>(43)), "SYSEXIT_NOSNAP");
  EXPECT_EQ(exit_code_name(static_cast<ExitCode>(11)), "SYSEXIT_PLOOPFMT");
  for (int reserved : {8, 10, 25, 31, 32, 34, 42}) {
    EXPECT_EQ(exit_code_name(static_cast<ExitCode>(reserved)), "") << reserved;
  }
}

}  // namespace
}  // namespace ploop
