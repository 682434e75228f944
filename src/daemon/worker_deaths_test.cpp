#include "daemon/worker_deaths.hpp"

#include <gtest/gtest.h>

namespace ploop::daemon {
namespace {

using std::chrono::milliseconds;
using Cause = WorkerDeaths::Cause;

TEST(WorkerDeaths, AStormOfKillsWithPausesIsSurvived) {
  WorkerDeaths deaths;
  for (int i = 0; i < 500; ++i)
    ASSERT_EQ(deaths.died(Cause::Killed, milliseconds(350)), milliseconds(0)) << i;
}

TEST(WorkerDeaths, AFewQuickKillsBetweenOthersAreSurvived) {
  WorkerDeaths deaths;
  for (int i = 0; i < 500; ++i)
    ASSERT_TRUE(deaths.died(Cause::Killed, milliseconds(i % 8 == 0 ? 400 : 20))) << i;
}

TEST(WorkerDeaths, WorkersThatNeverServeAreGivenUpWithinSeconds) {
  for (const Cause cause : {Cause::Killed, Cause::Crashed}) {
    WorkerDeaths deaths;
    milliseconds waited{0};
    int replaced = 0;
    while (const auto pause = deaths.died(cause, milliseconds(0))) {
      waited += *pause;
      ASSERT_LT(++replaced, 100);
    }
    EXPECT_EQ(replaced, 10);
    EXPECT_LT(waited, milliseconds(2000));
    EXPECT_GT(waited, milliseconds(500)) << "no time for memory to come back";
  }
}

TEST(WorkerDeaths, ARequestThatCrashesItsWorkerAfterAWhileIsGivenUp) {
  WorkerDeaths deaths;
  int replaced = 0;
  while (deaths.died(Cause::Crashed, milliseconds(5000)))
    ASSERT_LT(++replaced, 100);
  EXPECT_EQ(replaced, 10);
}

TEST(WorkerDeaths, AWorkerThatIsAlwaysKilledForMemoryIsGivenUpInTheEnd) {
  WorkerDeaths deaths;
  int replaced = 0;
  while (deaths.died(Cause::Killed, milliseconds(1000)))
    ASSERT_LT(++replaced, 10'000);
  EXPECT_EQ(replaced, 1000);
}

TEST(WorkerDeaths, RareCrashesAreForgotten) {
  WorkerDeaths deaths;
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(deaths.died(Cause::Crashed, milliseconds(61'000))) << i;
}

}  // namespace
}  // namespace ploop::daemon
