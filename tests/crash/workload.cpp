// Seeded streams of requests.
#include "workload.hpp"

#include <algorithm>
#include <memory>
#include <random>

namespace ploop::crash {

SessionOptions random_session(std::uint64_t seed) {
  std::mt19937_64 rng(seed * 3 + 7);
  static constexpr std::uint64_t kDelays[] = {1'000'000'000, 1'000'000'000, 1'000'000, 50'000};
  SessionOptions options;
  options.seed = seed;
  options.immediate_percent = rng() % 4 == 0 ? 50 : 0;
  options.in_order_percent = static_cast<unsigned>(rng() % 3) * 40;
  options.commit_delay_ns = kDelays[rng() % 4];
  options.can_allocate = rng() % 8 != 0;
  options.can_punch = rng() % 8 != 0;
  options.compact_pass_bytes = rng() % 3 == 0 ? 128 * 1024 : 1'073'741'824;
  return options;
}

namespace {

class Generator {
 public:
  Generator(const Shape& shape, const WorkloadOptions& options)
      : shape_(shape), options_(options), rng_(options.seed ^ 0xC0FFEE), left_(options.requests) {
    hot_ = std::min<std::uint64_t>(shape.clusters, 2 + rng_() % 4);
    hot_first_ = rng_() % (shape.clusters - hot_ + 1);
    // In a table of several pages the border of the first two is the place to be.
    constexpr std::uint64_t kBorder = format::kSlotsPerPage - format::kTableFirstWord;
    if (shape.clusters > kBorder + hot_) hot_first_ = kBorder - 1 - rng_() % (hot_ - 1);
    hot_percent_ = 50 + rng_() % 50;
    zero_percent_ = 5 + rng_() % 30;
    fua_percent_ = rng_() % 3 * 10;
  }

  bool next(Step* step) {
    using Op = engine::Request::Op;
    if (left_ == 0) return false;
    --left_;
    *step = Step{};
    if (rng_() % 50 == 0) step->pause_ns = 2'000'000'000;
    if (rng_() % 100 < options_.compact_percent) {
      step->compact = true;
      step->count = rng_() % 2 == 0 ? ~std::uint64_t{0} : 1 + rng_() % 8;
      return true;
    }
    const std::uint64_t kind = rng_() % 100;
    if (kind < options_.flush_percent) {
      step->op = Op::Flush;
      return true;
    }
    if (options_.reads && kind < options_.flush_percent + 15) {
      step->op = Op::Read;
    } else {
      step->op = rng_() % 100 < zero_percent_ ? Op::WriteZeroes : Op::Write;
      step->fua = rng_() % 100 < fua_percent_;
      step->unmap = step->op == Op::WriteZeroes && rng_() % 4 != 0;
    }
    place(*step);
    return true;
  }

 private:
  void place(Step& step) {
    const std::uint64_t per_cluster = shape_.cluster_sectors;
    const bool hot = rng_() % 100 < hot_percent_;
    const std::uint64_t cluster = hot ? hot_first_ + rng_() % hot_ : rng_() % shape_.clusters;
    step.first = cluster * per_cluster;
    switch (rng_() % 6) {
      case 0:  // one whole cluster
        step.count = per_cluster;
        break;
      case 1:  // several, or as many as there are
        step.count = per_cluster * (2 + rng_() % 2);
        break;
      case 2: {  // across a border
        const std::uint64_t back = 1 + rng_() % (per_cluster - 1);
        step.first += per_cluster - back;
        step.count = back + 1 + rng_() % per_cluster;
        break;
      }
      case 3:  // most of a cluster
        step.first += rng_() % 8;
        step.count = per_cluster - 8;
        break;
      default:
        step.first += rng_() % per_cluster;
        step.count = 1 + rng_() % 16;
    }
    step.first = std::min(step.first, shape_.sectors() - 1);
    step.count = std::min(step.count, shape_.sectors() - step.first);
  }

  Shape shape_;
  WorkloadOptions options_;
  std::mt19937_64 rng_;
  unsigned left_;
  std::uint64_t hot_ = 1;
  std::uint64_t hot_first_ = 0;
  std::uint64_t hot_percent_ = 50;
  std::uint64_t zero_percent_ = 10;
  std::uint64_t fua_percent_ = 0;
};

}  // namespace

StepSource random_steps(const Shape& shape, const WorkloadOptions& options) {
  return [generator = std::make_shared<Generator>(shape, options)](unsigned, Step* step) {
    return generator->next(step);
  };
}

}  // namespace ploop::crash
