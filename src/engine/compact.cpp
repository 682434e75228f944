// Making the file shorter under load: clusters at its end move into holes, then the end is cut off.
//
// A pass has a target, a cluster of the file; everything at or behind it moves below it. For a few clusters
// at a time:
//
//   mark          writes to them that come now wait, outside any grace period; reads go on
//   grace period  writes that were running have ended
//   copy          into the lowest hole, by reading and writing
//   map           the entry names the copy; waiting writes go there
//
// A move never touches the only copy (O7): the old cluster stays what it is until the ordinary commit has
// made the new slot durable (barrier, table, barrier) and the ordinary reclaim has given it back. So a pass
// ends with a flush, waits for the reclaim, and cuts behind the last cluster that anything refers to. Nothing
// here writes the table.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/core.hpp"

namespace ploop::engine {
namespace {

/// Most data that is held still at a time.
constexpr std::uint64_t kBatchBytes = 4 * kMiB;
/// Map entries looked at before other work gets its turn.
constexpr std::uint64_t kScanStep = 64 * 1024;
/// Internal result: there is no hole below the target any more.
constexpr int kNoHole = -ENOBUFS;

bool all_zero(const std::byte* data, std::size_t size) {
  return size == 0 || (data[0] == std::byte{0} && std::memcmp(data, data + 1, size - 1) == 0);
}

/// Lets everything else that is ready run once.
struct Pause : io::ResumeOnCompletion {
  explicit Pause(io::Ring& r) : ring(&r) { finished = &resume; }
  io::Ring* ring;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    waiting = h;
    ring->post(this);
  }
  void await_resume() const noexcept {}
};

}  // namespace

void CompactAwaiter::await_suspend(std::coroutine_handle<> h) {
  waiting = h;
  core->start_compact(*this);
}

bool Core::is_moving(std::uint64_t first, std::uint64_t last) const {
  if (moving_count_ == 0 || sabotaged(Sabotage::WriteWhileMoving)) return false;
  for (std::size_t i = 0; i < moving_count_; ++i) {
    if (moving_[i] >= first && moving_[i] <= last) return true;
  }
  return false;
}

void Core::start_compact(CompactAwaiter& a) {
  int refused = 0;
  if (!config_.writable) refused = -EROFS;
  if (top_is_raw_) refused = -EOPNOTSUPP;
  if (failed_) refused = -EIO;
  if (compacting_ || has_overlay() || tracker_.active()) refused = -EBUSY;
  if (refused != 0) {
    a.done.result = refused;
    ring_->post(&a);
    return;
  }
  compacting_ = true;
  compact_cancelled_ = false;
  compact_progress_ = {};
  run_compact(*this, &a);
}

Detached Core::run_compact(Core& self, CompactAwaiter* a) {
  CompactResult done;
  done.result = co_await compact(self, a->most_clusters, &done);
  done.left = self.allocator_.used_end() - self.header_.header_clusters() - self.allocator_.used_clusters();
  self.compacting_ = false;
  self.compacted_.wake_all(*self.ring_);
  a->done = done;
  self.ring_->post(a);
}

/// Everything that was freed becomes holes. 0 or -errno.
Task<int> Core::settle_frees(Core& self) {
  const int result = co_await flush(self);
  while (self.reclaim_running_)
    co_await self.reclaimed_.wait();
  co_return self.failed_ ? -EIO : result;
}

Task<int> Core::compact(Core& self, std::uint64_t most_clusters, CompactResult* done) {
  int result = co_await settle_frees(self);
  if (result < 0) co_return result;
  const std::uint64_t start = self.allocator_.used_end();
  const std::uint64_t packed = self.header_.header_clusters() + self.allocator_.used_clusters();
  const std::uint64_t goal = start - std::min(start - packed, most_clusters);
  const std::uint64_t step =
      std::max<std::uint64_t>(1, self.config_.compact_pass_bytes >> self.cluster_shift_);
  self.compact_progress_.total = self.allocator_.used_between(goal, start);
  result = co_await cut_file(self, &done->cut);
  while (result == 0 && !self.compact_cancelled_) {
    const std::uint64_t end = self.allocator_.used_end();
    if (end <= goal) break;
    const std::uint64_t target = std::max(goal, end - std::min(end, step));
    const std::uint64_t moved = done->moved;
    result = co_await compact_pass(self, target, done);
    int settled = 0;
    if (!self.sabotaged(Sabotage::CutBeforeCommit)) settled = co_await settle_frees(self);
    if (settled < 0) co_return settled;
    const int cut = co_await cut_file(self, &done->cut);
    if (result == 0) result = cut;
    // New clusters may be taken as fast as old ones are moved; that race need not be won.
    if (self.allocator_.used_end() >= end || done->moved == moved) break;
  }
  co_return result;
}

/// Moves what lies at or behind the target below it, as far as there are holes.
Task<int> Core::compact_pass(Core& self, std::uint64_t target, CompactResult* done) {
  const std::uint64_t per_batch = std::clamp<std::uint64_t>(kBatchBytes >> self.cluster_shift_, 1, kMaxMoves);
  std::uint64_t n = 0;
  std::uint64_t looked_at = 0;
  while (n < self.cluster_count_ && !self.compact_cancelled_ && !self.failed_) {
    for (; n < self.cluster_count_ && self.moving_count_ < per_batch && looked_at < kScanStep;
         ++n, ++looked_at) {
      const Entry e = self.map_.get(n);
      if (self.is_top(e) && !e.partial() && e.cluster() >= target) self.moving_[self.moving_count_++] = n;
    }
    if (looked_at == kScanStep) {
      looked_at = 0;
      co_await Pause(*self.ring_);
    }
    if (self.moving_count_ == 0) continue;
    const int result = co_await move_batch(self, target, done);
    if (result == kNoHole) break;
    if (result < 0) co_return result;
  }
  co_return self.failed_ ? -EIO : 0;
}

/// Moves the marked clusters and takes the marks away. 0, kNoHole or -errno.
Task<int> Core::move_batch(Core& self, std::uint64_t target, CompactResult* done) {
  [[maybe_unused]] const int drained = co_await grace_period(self);
  int result = 0;
  while (self.moving_count_ > 0) {
    const std::uint64_t cluster = self.moving_[self.moving_count_ - 1];
    const Entry e = self.map_.get(cluster);
    // Requests that were running when it was marked may have discarded it.
    if (result == 0 && self.is_top(e) && !e.partial() && e.cluster() >= target) {
      result = co_await move_cluster(self, cluster, target);
      if (result == 0) {
        ++done->moved;
        ++self.compact_progress_.done;
      }
    }
    --self.moving_count_;
    self.move_ended_.wake_all(*self.ring_);
  }
  co_return result;
}

Task<int> Core::move_cluster(Core& self, std::uint64_t cluster, std::uint64_t target) {
  if (self.failed_) co_return -EIO;
  const Entry e = self.map_.get(cluster);
  const auto taken = self.allocator_.take();
  if (!taken) co_return kNoHole;
  if (taken->cluster >= target) {
    self.allocator_.give_back(taken->cluster, taken->clean);
    co_return kNoHole;
  }
  std::size_t copy = 0;
  for (;;) {
    copy = 0;
    while (copy < kCopyBuffers && self.copies_[copy].busy)
      ++copy;
    if (copy < kCopyBuffers) break;
    co_await self.copy_released_.wait();
  }
  self.copies_[copy].busy = true;
  const int result = co_await copy_cluster(self, e.cluster(), taken->cluster, taken->clean,
                                           self.copies_[copy].buffer.data());
  self.copies_[copy].busy = false;
  self.copy_released_.wake_all(*self.ring_);
  if (result < 0) {
    self.allocator_.give_back(taken->cluster, false);
    co_return result;
  }
  self.map_top(cluster, taken->cluster, e.below());
  self.release_cluster(cluster, e.cluster());
  self.stats.moved.add();
  co_return 0;
}

/// `clean`: the new place reads as zeros, so that zeros need no write and no blocks.
Task<int> Core::copy_cluster(Core& self, std::uint32_t from, std::uint32_t to, bool clean,
                             std::byte* buffer) {
  const std::uint64_t source = std::uint64_t{from} << self.cluster_shift_;
  const std::uint64_t place = std::uint64_t{to} << self.cluster_shift_;
  for (std::uint64_t at = 0; at < self.cluster_bytes_; at += kCopyBytes) {
    const std::uint64_t length = std::min<std::uint64_t>(kCopyBytes, self.cluster_bytes_ - at);
    int result = co_await read_extent(self, {self.top_, source + at, length, false}, buffer);
    if (result < 0) co_return result;
    if (clean && all_zero(buffer, length)) continue;
    result = co_await write_file(self, place + at, length, buffer);
    if (result < 0) co_return result;
  }
  co_return 0;
}

/// Cuts the file behind the last cluster in use. Adds to *clusters what it cut.
Task<int> Core::cut_file(Core& self, std::uint64_t* clusters) {
  while (self.extending_)
    co_await self.extended_.wait();
  const std::uint64_t old = self.allocator_.file_clusters();
  std::uint64_t end = self.allocator_.used_end();
  if (self.sabotaged(Sabotage::CutBeforeCommit)) end = self.live_end();
  if (end >= old || self.failed_) co_return 0;
  // Nobody takes or adds a cluster behind the new end until the file has it.
  self.extending_ = true;
  self.allocator_.cut_to(end);
  const int result = co_await io::truncate(*self.ring_, *self.top_, end << self.cluster_shift_);
  self.note_data_changed();
  if (result >= 0) {
    self.allocator_.cut_done();
    *clusters += old - end;
  }  // else nobody knows how long the file is; it is extended from the new end when it has to be
  self.extending_ = false;
  self.extended_.wake_all(*self.ring_);
  co_return result < 0 ? result : 0;
}

/// One behind the last cluster that the live map names; only the saboteur of O7 believes that this is enough.
std::uint64_t Core::live_end() const {
  std::uint64_t end = header_.header_clusters();
  for (std::uint64_t n = 0; n < cluster_count_; ++n) {
    if (is_top(map_.get(n))) end = std::max<std::uint64_t>(end, std::uint64_t{map_.get(n).cluster()} + 1);
  }
  return end;
}

}  // namespace ploop::engine
