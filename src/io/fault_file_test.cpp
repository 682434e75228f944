// FaultFile: exactly the chosen calls fail.
#include "io/fault_file.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "io/memory_file.hpp"

namespace ploop::io {
namespace {

TEST(FaultFile, FailsOneCallOfOneKind) {
  FaultPlan plan;
  plan.add({.kind = OpKind::Write, .first = 1, .times = 1, .error = ENOSPC});
  FaultFile file(std::make_unique<MemoryFile>("m"), plan);
  std::vector<std::byte> data(512, std::byte{1});
  EXPECT_EQ(file.write(data, 0), 512);
  EXPECT_EQ(file.write(data, 512), -ENOSPC);
  EXPECT_EQ(file.write(data, 512), 512);
  EXPECT_EQ(file.sync(), 0);
  EXPECT_EQ(plan.calls(), 4U);
  EXPECT_EQ(plan.injected(), 1U);
}

TEST(FaultFile, PersistentFaultHitsEveryKindFromThenOn) {
  FaultPlan plan;
  plan.add({.kind = {}, .first = 2, .times = Fault::kForEver, .error = EIO});
  FaultFile file(std::make_unique<MemoryFile>("m"), plan);
  std::vector<std::byte> data(512);
  EXPECT_EQ(file.truncate(4096), 0);
  EXPECT_EQ(file.read(data, 0), 512);
  EXPECT_EQ(file.read(data, 0), -EIO);
  EXPECT_EQ(file.write(data, 0), -EIO);
  EXPECT_EQ(file.sync(), -EIO);
  EXPECT_EQ(file.truncate(0), -EIO);
  EXPECT_EQ(file.allocate(0, 1), -EIO);
  EXPECT_EQ(file.punch(0, 1), -EIO);
  EXPECT_EQ(file.clone(file.inner(), 0, 0, 4096), -EIO);
  EXPECT_EQ(file.size(), 4096);
}

TEST(FaultFile, BarrierFailsOnceAndThenSucceeds) {
  FaultPlan plan;
  plan.add({.kind = OpKind::Sync, .first = 0, .times = 1, .error = EIO});
  FaultFile file(std::make_unique<MemoryFile>("m"), plan);
  EXPECT_EQ(file.sync(), -EIO);
  EXPECT_EQ(file.sync(), 0);
}

TEST(FaultFile, HalfDoneWriteLeavesItsFirstHalf) {
  FaultPlan plan;
  plan.add({.kind = OpKind::Write, .error = ENOSPC, .half_done = true});
  FaultFile file(std::make_unique<MemoryFile>("m"), plan);
  std::vector<std::byte> data(2048, std::byte{5});
  EXPECT_EQ(file.write(data, 0), -ENOSPC);
  EXPECT_EQ(file.size(), 1024);
}

}  // namespace
}  // namespace ploop::io
