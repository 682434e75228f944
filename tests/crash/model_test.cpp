// Long runs without a crash: whatever order operations finish in, every read gives a value the model allows,
// and in the end the image holds exactly what was written.
#include <gtest/gtest.h>

#include "harness.hpp"
#include "verify.hpp"
#include "workload.hpp"

namespace ploop::crash {
namespace {

/// One long life: many requests at a time, or one at a time, where the model knows every byte.
std::string long_life(std::uint64_t seed, unsigned requests) {
  const auto disk = make_disk(random_shape(seed), seed);
  if (!disk) return disk.error().message();
  Session session(*disk, random_session(seed));
  WorkloadOptions workload;
  workload.seed = seed;
  workload.requests = requests;
  workload.flush_percent = 2 + static_cast<unsigned>(seed % 3) * 4;
  const unsigned tags = seed % 4 == 0 ? 1 : static_cast<unsigned>(2 + seed % 15);
  if (!session.open() || !session.run(tags, random_steps(disk->shape, workload)) || !session.read_back()) {
    return session.violation() + "\n  disk: " + disk->shape.text();
  }
  count("requests", session.requests());
  count("operations", session.ring().finished());
  count("moved", session.moved());
  count("cut", session.cut());
  if (!session.close()) return "close failed";
  const Content closed = session.content();
  View view;
  std::string wrong = read_state(*disk, closed, true, &view);
  Oracle oracle(Oracle::Settles::Acknowledged, disk->initial);
  for (const OracleEvent& event : session.events())
    oracle.apply(event);
  if (wrong.empty()) wrong = compare(oracle, view);
  if (wrong.empty()) wrong = scan_state(*disk, closed, true);
  return wrong.empty() ? "" : wrong + "\n  disk: " + disk->shape.text();
}

TEST(Model, RandomRequestsAgree) {
  constexpr unsigned kRequestsPerLife = 500;
  const std::uint64_t wanted = scaled(200'000);
  const std::string violation = run_seeds(
      1'000'000, [](std::uint64_t seed) { return long_life(seed, kRequestsPerLife); },
      [&] { return counted("requests") < wanted; });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GE(counted("requests"), wanted);
  EXPECT_GT(counted("moved"), 0U);
  EXPECT_GT(counted("cut"), 0U);
}

}  // namespace
}  // namespace ploop::crash
