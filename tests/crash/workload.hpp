// Random requests that look for trouble: few clusters, many meetings.
#pragma once

#include <cstdint>

#include "session.hpp"

namespace ploop::crash {

struct WorkloadOptions {
  std::uint64_t seed = 1;
  unsigned requests = 40;  ///< of all tags together
  bool reads = true;
  unsigned flush_percent = 10;
  unsigned compact_percent = 6;
};

/// The options of a life that the seed chooses: disorder, immediate completions, commit delay.
SessionOptions random_session(std::uint64_t seed);

/// Steps for any number of tags; they share one stream. The disk outlives the source.
StepSource random_steps(const Shape& shape, const WorkloadOptions& options);

}  // namespace ploop::crash
