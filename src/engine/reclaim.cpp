// The way back of freed clusters: retired (no durable table names them), grace period (no request can still
// touch them), punched, free.

#include "engine/core.hpp"

namespace ploop::engine {

void Core::retire(std::uint32_t image_cluster) {
  retired_.set(image_cluster);
  ++retired_count_;
  start_reclaim();
}

void Core::start_reclaim() {
  if (!reclaim_running_) reclaim_loop(*this);
}

/// Returns when every request that was running at the call has ended.
Task<int> Core::grace_period(Core& self) {
  // One at a time: with two sides, a second one could not tell old requests from new ones.
  while (self.grace_running_)
    co_await self.grace_over_.wait();
  self.grace_running_ = true;
  const std::uint8_t old = self.phase_;
  self.phase_ ^= 1;
  while (self.in_phase_[old] > 0)
    co_await self.phase_drained_.wait();
  self.grace_running_ = false;
  self.grace_over_.wake_all(*self.ring_);
  co_return 0;
}

Detached Core::reclaim_loop(Core& self) {
  self.reclaim_running_ = true;
  while (self.retired_count_ > 0 && !self.failed_) {
    // Clusters retired from here on belong to the next batch: their grace period has not begun.
    self.retired_count_ = 0;
    self.reclaiming_.swap(self.retired_);
    [[maybe_unused]] const int drained = co_await grace_period(self);
    const std::uint64_t end = self.reclaiming_.size();
    for (std::uint64_t first = self.reclaiming_.find(true, 0, end); first < end;) {
      const std::uint64_t last = self.reclaiming_.find(false, first, end);
      const int result =
          co_await zero_file(self, first << self.cluster_shift_, (last - first) << self.cluster_shift_);
      for (std::uint64_t c = first; c < last; ++c) {
        self.reclaiming_.clear(c);
        self.allocator_.give_back(static_cast<std::uint32_t>(c), result == 0);
      }
      self.stats.freed.add(last - first);
      first = self.reclaiming_.find(true, last, end);
    }
  }
  self.reclaim_running_ = false;
  self.reclaimed_.wake_all(*self.ring_);
}

}  // namespace ploop::engine
