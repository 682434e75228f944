#include "daemon/worker_deaths.hpp"

#include <algorithm>

namespace ploop::daemon {
namespace {

using std::chrono::milliseconds;

/// A worker that dies sooner than this after it began counts as one that can't live, whatever it died of.
constexpr milliseconds kSoon{300};
constexpr unsigned kMostQuick = 10;
/// A request that kills its worker is served again within moments, so whoever lives for this long has got
/// past it.
constexpr milliseconds kLong{60'000};
/// Crashes are defects; more than a few will not help.
constexpr unsigned kMostCrashed = 10;
/// Far above what a person or a test does, but an end for a worker that the kernel kills each time for want
/// of memory.
constexpr unsigned kMostKilled = 1000;

/// The first replacements come at once. Later ones leave time for what is scarce, memory above all, to come
/// back; all pauses together are less than two seconds.
milliseconds pause_before(unsigned quick) {
  constexpr unsigned kAtOnce = 2;
  constexpr milliseconds kFirst{10};
  constexpr milliseconds kLongest{500};
  if (quick <= kAtOnce) return milliseconds(0);
  return std::min(kFirst * (1u << (quick - kAtOnce - 1)), kLongest);
}

}  // namespace

std::optional<milliseconds> WorkerDeaths::died(Cause cause, milliseconds lived) {
  if (lived >= kLong) *this = {};
  quick_ = lived < kSoon ? quick_ + 1 : 0;
  ++(cause == Cause::Killed ? killed_ : crashed_);
  if (quick_ > kMostQuick || crashed_ > kMostCrashed || killed_ > kMostKilled) return std::nullopt;
  return pause_before(quick_);
}

}  // namespace ploop::daemon
