// Power cuts: random lives, every short sequence, and a second power cut after the first.
#include "power_cut.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

#include "harness.hpp"
#include "verify.hpp"
#include "workload.hpp"

namespace ploop::crash {
namespace {

using Op = engine::Request::Op;

void add_counts(const std::string& suite, const PowerCutResult& result) {
  count(suite + "_moments", result.moments);
  count(suite + "_states_built", result.states);
  count(suite + "_states", result.distinct);
  count("second_lives", result.second_lives);
  count("qemu_states", result.qemu);
  count("distinct_states", result.distinct);
}

/// One life of a random disk. "" or the violation.
std::string random_life(std::uint64_t seed, unsigned requests, const PowerCutLimits& limits,
                        PowerCutResult* result) {
  const auto disk = make_disk(random_shape(seed), seed);
  if (!disk) return disk.error().message();
  Session session(*disk, random_session(seed));
  WorkloadOptions workload;
  workload.seed = seed;
  workload.requests = requests;
  if (!session.open()) return session.violation();
  const bool fine = session.run(1 + static_cast<unsigned>(seed % 6), random_steps(disk->shape, workload));
  if (!fine) return session.violation() + "\n  disk: " + disk->shape.text() + "\n" + session.transcript();
  count("moved", session.moved());
  if (seed % 3 != 0 && !session.close()) return "close failed";
  *result = power_cut(*disk, session, limits, seed);
  return result->violation;
}

TEST(PowerCut, RandomLives) {
  PowerCutLimits limits;
  limits.qemu_every = qemu_available() ? 397 : 0;
  const std::uint64_t wanted = states_wanted();
  const std::string violation = run_seeds(
      1'000'000,
      [&](std::uint64_t seed) {
        PowerCutResult result;
        const std::string wrong = random_life(seed, 30 + static_cast<unsigned>(seed % 30), limits, &result);
        add_counts("random", result);
        count("random_lives", 1);
        return wrong;
      },
      [&] { return counted("random_states") < wanted; });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GE(counted("random_states"), wanted);
  EXPECT_GT(counted("moved"), 0U);
}

/// Full disks with many holes that are compacted again and again, while writes go to what moves.
TEST(PowerCut, CompactedLives) {
  const std::string violation = run_seeds(scaled(150), [&](std::uint64_t seed) -> std::string {
    Shape shape = random_shape(seed);
    shape.raw_base = false;
    shape.cut_sectors = 0;
    shape.levels = 1 + static_cast<std::uint32_t>(seed % 3);
    shape.clusters = 6 + static_cast<std::uint32_t>(seed % 20);
    shape.top_percent = 50 + static_cast<std::uint32_t>(seed % 51);
    const auto disk = make_disk(shape, seed);
    if (!disk) return disk.error().message();
    Session session(*disk, random_session(seed));
    WorkloadOptions workload;
    workload.seed = seed;
    workload.requests = 40;
    workload.compact_percent = 20;
    if (!session.open()) return session.violation();
    if (!session.run(1 + static_cast<unsigned>(seed % 5), random_steps(disk->shape, workload))) {
      return session.violation() + "\n  disk: " + disk->shape.text() + "\n" + session.transcript();
    }
    count("moved_in_compacted_lives", session.moved());
    if (seed % 3 != 0 && !session.close()) return "close failed";
    PowerCutLimits limits;
    limits.enumeration.per_event = 8;
    limits.enumeration.per_data_event = 2;
    const PowerCutResult result = power_cut(*disk, session, limits, seed);
    add_counts("compacted", result);
    return result.violation;
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GT(counted("moved_in_compacted_lives"),
            scaled(150) / 2);  // many a life moves nothing, and a scaled run has few
}

/// The alphabet of the short sequences, on clusters 0 and 1 of a disk.
const std::vector<Step>& alphabet() {
  static const std::vector<Step> steps = {
      {.op = Op::Write, .first = 3, .count = 5},    // part of cluster 0
      {.op = Op::Write, .first = 0, .count = 64},   // all of it
      {.op = Op::Write, .first = 60, .count = 10},  // into cluster 1
      {.op = Op::Write, .first = 5, .count = 2, .fua = true},
      {.op = Op::Write, .first = 64, .count = 64},
      {.op = Op::WriteZeroes, .first = 0, .count = 64, .unmap = true},
      {.op = Op::WriteZeroes, .first = 0, .count = 128, .unmap = true},
      {.op = Op::WriteZeroes, .first = 2, .count = 7, .unmap = true},
      {.op = Op::WriteZeroes, .first = 0, .count = 64},
      {.op = Op::Flush},
  };
  return steps;
}

struct ShortLife {
  Shape shape;
  std::vector<std::size_t> letters;  ///< of the alphabet
  bool together = false;             ///< all at once instead of one after the other
  bool close = false;
};

std::string short_life(const ShortLife& life, std::uint64_t seed) {
  const auto disk = make_disk(life.shape, 4711);
  if (!disk) return disk.error().message();
  SessionOptions options;
  options.seed = seed;
  Session session(*disk, options);
  if (!session.open()) return session.violation();
  std::size_t next = 0;
  const auto source = [&](unsigned, Step* step) {
    if (next == life.letters.size()) return false;
    *step = alphabet()[life.letters[next++]];
    return true;
  };
  const auto tags = life.together ? static_cast<unsigned>(life.letters.size()) : 1U;
  if (!session.run(tags, source)) return session.violation() + "\n" + session.transcript();
  if (life.close && !session.close()) return "close failed";
  PowerCutLimits limits;
  limits.enumeration.all_subsets_up_to = 10;
  limits.enumeration.per_event = 4096;
  limits.enumeration.per_data_event = 4096;
  limits.use_every = 64;
  const PowerCutResult result = power_cut(*disk, session, limits, seed);
  add_counts("short", result);
  count("short_lives", 1);
  return result.violation;
}

std::vector<Shape> short_shapes() {
  std::vector<Shape> shapes;
  for (const auto version : {format::Version::V1, format::Version::V2}) {
    for (int variant = 0; variant < 4; ++variant) {
      Shape shape;
      shape.version = version;
      shape.clusters = 4;
      shape.levels = variant == 0 || variant == 1 ? 1 : 2;
      shape.top_percent = variant == 1 ? 100 : 0;
      shape.lower_percent = 100;
      shape.can_clone = variant == 3;
      shapes.push_back(shape);
    }
  }
  return shapes;
}

TEST(PowerCut, EveryPairOfOperations) {
  std::vector<ShortLife> lives;
  const std::size_t letters = alphabet().size();
  std::size_t shape_number = 0;
  for (const Shape& shape : short_shapes()) {
    ++shape_number;
    for (std::size_t a = 0; a < letters; ++a) {
      for (std::size_t b = 0; b < letters; ++b) {
        lives.push_back({shape, {a, b}, false, (a + b + shape_number) % 2 == 0});
        lives.push_back({shape, {a, b}, true, (a + b + shape_number) % 2 != 0});
      }
    }
  }
  const std::uint64_t step = 100 / std::min<std::uint64_t>(100, scaled(100));
  const std::string violation = run_seeds(lives.size() / step, [&](std::uint64_t seed) {
    const std::uint64_t number = (seed - first_seed()) * step;
    return short_life(lives[number], seed);
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GE(counted("short_lives"), lives.size() / step);
}

TEST(PowerCut, SampledTriplesOfOperations) {
  const auto shapes = short_shapes();
  const std::string violation = run_seeds(scaled(600), [&](std::uint64_t seed) {
    std::mt19937_64 rng(seed);
    ShortLife life;
    life.shape = shapes[rng() % shapes.size()];
    for (int i = 0; i < 3; ++i)
      life.letters.push_back(rng() % alphabet().size());
    life.together = rng() % 2 == 0;
    life.close = rng() % 2 == 0;
    return short_life(life, seed);
  });
  EXPECT_TRUE(violation.empty()) << violation;
}

/// A power cut, a recovery with new writes, and another power cut in the middle of that.
TEST(PowerCut, SecondCutAfterTheFirst) {
  const std::string violation = run_seeds(scaled(400), [&](std::uint64_t seed) -> std::string {
    auto disk = make_disk(random_shape(seed), seed);
    if (!disk) return disk.error().message();
    std::mt19937_64 rng(seed);
    for (int cut = 0; cut < 3; ++cut) {
      SessionOptions options = random_session(seed + static_cast<std::uint64_t>(cut));
      Session session(*disk, options);
      WorkloadOptions workload;
      workload.seed = seed * 10 + static_cast<std::uint64_t>(cut);
      workload.requests = 12;
      if (!session.open()) return session.violation();
      if (!session.run(3, random_steps(disk->shape, workload)))
        return session.violation() + session.transcript();
      if (cut > 0) {
        PowerCutLimits limits;
        limits.enumeration.per_event = 6;
        limits.enumeration.per_data_event = 1;
        const PowerCutResult result = power_cut(*disk, session, limits, seed);
        add_counts("recovery", result);
        if (!result.violation.empty()) return result.violation;
      }
      // Cut at a random moment, in a random state; what it reads as is where the next life begins.
      CrashStates states(disk->top, session.log(), disk->data_start);
      states.advance(1 + rng() % session.now());
      Content chosen;
      bool found = false;
      states.enumerate(CrashStates::kAll, Enumeration{}, rng, [&](const std::vector<Fate>& fates) {
        if (!found || rng() % 8 == 0) chosen = states.build(fates);
        found = true;
      });
      View view;
      const std::string wrong = read_state(*disk, chosen, false, &view);
      if (!wrong.empty()) return wrong;
      disk->top = chosen;
      disk->initial = view.sectors;
      disk->next_generation += 1000;
    }
    return "";
  });
  EXPECT_TRUE(violation.empty()) << violation;
}

}  // namespace
}  // namespace ploop::crash
