// The worker dies at some operation; its successor takes over the live map, the requests that were in flight
// come again. Nothing acknowledged is lost, whether it was flushed or not. Then the power goes too.
#include <gtest/gtest.h>

#include <random>

#include "harness.hpp"
#include "power_cut.hpp"
#include "verify.hpp"
#include "workload.hpp"

namespace ploop::crash {
namespace {

/// Kills a life up to three times, each time at an operation chosen by the seed.
std::string killed_life(std::uint64_t seed, bool with_power_cut) {
  const auto disk = make_disk(random_shape(seed), seed);
  if (!disk) return disk.error().message();
  SessionOptions options = random_session(seed);
  options.immediate_percent = 0;
  Session session(*disk, options);
  std::mt19937_64 rng(seed);
  const auto complain = [&](const std::string& text) {
    return text + "\n  disk: " + disk->shape.text() + "\n" + session.transcript();
  };
  if (!session.open()) return session.violation();
  for (std::uint64_t round = 0; round < 1 + seed % 3; ++round) {
    WorkloadOptions workload;
    workload.seed = seed + 1000 * round;
    workload.requests = 40;
    session.stop_after(1 + rng() % 80);
    if (!session.run(1 + static_cast<unsigned>(seed % 5), random_steps(disk->shape, workload)))
      return complain(session.violation());
    session.kill();
    if (!session.open() || !session.reissue() || !session.read_back())
      return complain("after a kill: " + session.violation());
    count("kills", 1);
  }
  WorkloadOptions workload;
  workload.seed = seed + 5;
  workload.requests = 15;
  if (!session.run(2, random_steps(disk->shape, workload)) || !session.read_back())
    return complain(session.violation());
  if (seed % 2 == 0) {
    if (!session.close()) return complain("close failed");
    View view;
    const Content closed = session.content();
    std::string wrong = read_state(*disk, closed, true, &view);
    Oracle oracle(Oracle::Settles::Acknowledged, disk->initial);
    for (const OracleEvent& event : session.events())
      oracle.apply(event);
    if (wrong.empty()) wrong = compare(oracle, view);
    if (wrong.empty()) wrong = scan_state(*disk, closed, true);
    if (!wrong.empty()) return complain("closed after a kill: " + wrong);
  }
  count("moved", session.moved());
  if (!with_power_cut) return "";
  PowerCutLimits limits;
  limits.enumeration.per_event = 6;
  limits.enumeration.per_data_event = 1;
  const PowerCutResult result = power_cut(*disk, session, limits, seed);
  count("power_cut_states", result.distinct);
  return result.violation;
}

TEST(Kill, NothingAcknowledgedIsLost) {
  const std::string violation =
      run_seeds(scaled(1200), [](std::uint64_t seed) { return killed_life(seed, seed % 8 == 0); });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GT(counted("kills"), 0U);
  EXPECT_GT(counted("moved"), 0U);
}

}  // namespace
}  // namespace ploop::crash
