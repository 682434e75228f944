// Proof that the simulator sees what it must see: engines that break one ordering rule each are caught, and
// the honest one passes the same seeds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "harness.hpp"
#include "power_cut.hpp"
#include "workload.hpp"

namespace ploop::crash {
namespace {

/// One life with a saboteur; "" or the violation.
std::string sabotaged_life(std::uint64_t seed, engine::Sabotage sabotage, PowerCutResult* result) {
  const auto disk = make_disk(random_shape(seed), seed);
  if (!disk) return disk.error().message();
  SessionOptions options = random_session(seed);
  options.sabotage = sabotage;
  Session session(*disk, options);
  WorkloadOptions workload;
  workload.seed = seed;
  workload.requests = 60;
  workload.flush_percent = 15;
  if (!session.open()) return session.violation();
  if (!session.run(4, random_steps(disk->shape, workload))) return session.violation();
  PowerCutLimits limits;
  limits.enumeration.per_event = 48;
  limits.use_every = 1'000'000;
  *result = power_cut(*disk, session, limits, seed);
  return result->violation;
}

struct Saboteur {
  const char* name;
  engine::Sabotage sabotage;
};

class Saboteurs : public testing::TestWithParam<Saboteur> {};

constexpr std::uint64_t kSeeds = 60;
/// So many lives have to show a violation; then the point is made.
constexpr std::uint64_t kEnough = 5;

TEST_P(Saboteurs, AreCaught) {
  std::atomic<std::uint64_t> caught{0};
  std::atomic<std::uint64_t> states{0};
  std::atomic<std::uint64_t> lives{0};
  run_seeds(
      kSeeds,
      [&](std::uint64_t seed) -> std::string {
        PowerCutResult result;
        if (!sabotaged_life(seed, GetParam().sabotage, &result).empty()) ++caught;
        states += result.distinct;
        ++lives;
        return "";
      },
      [&] { return caught < kEnough; });
  count(fmt::format("caught_{}", GetParam().name), caught);
  count(fmt::format("lives_{}", GetParam().name), lives);
  EXPECT_GT(caught, 0U) << "not noticed in " << states << " states";
}

INSTANTIATE_TEST_SUITE_P(Rules, Saboteurs,
                         testing::Values(Saboteur{"O1", engine::Sabotage::DataBeforePointer},
                                         Saboteur{"O2", engine::Sabotage::LengthBeforePointer},
                                         Saboteur{"O3", engine::Sabotage::NoPassengers},
                                         Saboteur{"O6", engine::Sabotage::ClearBeforeReuse},
                                         Saboteur{"O7_writes", engine::Sabotage::WriteWhileMoving},
                                         Saboteur{"O7_cut", engine::Sabotage::CutBeforeCommit}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(HonestEngine, PassesTheSeedsOfTheSaboteurs) {
  const std::string violation = run_seeds(scaled(kSeeds), [&](std::uint64_t seed) {
    PowerCutResult result;
    const std::string wrong = sabotaged_life(seed, engine::Sabotage::None, &result);
    count("honest_states", result.distinct);
    return wrong;
  });
  EXPECT_TRUE(violation.empty()) << violation;
}

}  // namespace
}  // namespace ploop::crash
