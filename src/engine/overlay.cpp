// A live merge: the former top, the *overlay*, is drained into the level below, which takes all writes from
// the beginning.
//
// An entry that refers to the overlay is to the rest of the engine one of another level: reads go there, and
// a write takes a cluster of the top first, by cloning or through a partial record that fills from the
// overlay. What is special is the disk: a slot of the overlay hides the top's, so after the table pages of a
// commit are durable the overlay's slots of the same guest clusters are cleared, durably, before the flush is
// answered:
//
//   data of the top -> barrier -> pages of the top -> barrier -> pages of the overlay -> barrier
//
// After a cut at any point the stack of both, read in the ordinary way, gives what was flushed.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/core.hpp"
#include "format/cluster_table.hpp"

namespace ploop::engine {
namespace {

constexpr std::uint32_t kPullsAtATime = 4;

}  // namespace

void Core::build_overlay() {
  const std::span<const std::uint32_t> table = deltas_.back().table();
  overlay_table_.assign(table.begin(), table.end());
  overlay_left_ = 0;
  for (std::uint64_t n = 0; n < overlay_table_.size(); ++n) {
    if (overlay_table_[n] == 0) continue;
    ++overlay_left_;
    // Pulled by a predecessor that did not get to clear the slot.
    if (!in_overlay(map_.get(n))) mark_dirty(n);
  }
  overlay_total_ = overlay_left_;
}

/// One behind the highest cluster of the overlay that its table names.
std::uint64_t Core::overlay_end() const {
  std::uint64_t end = overlay_header_.header_clusters();
  for (const std::uint32_t slot : overlay_table_)
    end = std::max(end, std::uint64_t{slot} + 1);
  return end;
}

/// Moves one guest cluster into the top, unless a write did it already.
Task<int> Core::pull(Core& self, std::uint64_t cluster) {
  for (;;) {
    if (self.failed_) co_return -EIO;
    const Entry e = self.map_.get(cluster);
    if (self.in_overlay(e)) {
      bool written = false;
      const int result = co_await take_cluster(self, Piece{cluster, 0, 0, nullptr}, &written);
      if (result < 0) co_return result;
      continue;
    }
    if (!e.partial()) co_return 0;
    const int result = co_await fill(self, e.record());
    if (result < 0) co_return result == kUndone ? -ENOSPC : result;
  }
}

Detached Core::pull_in_background(Core& self, std::uint64_t cluster, PullGroup* group) {
  const int result = co_await pull(self, cluster);
  if (result < 0) group->result = result;
  --group->running;
  group->ended.wake_all(*self.ring_);
}

/// 0: the overlay's table is empty on disk. Can be repeated after an error; -ECANCELED when the device is
/// being closed or somebody asked for it.
Task<int> Core::drain_overlay(Core& self) {
  self.draining_ = true;
  self.drain_cancelled_ = false;
  const int result = co_await pull_all(self);
  self.draining_ = false;
  self.drained_.wake_all(*self.ring_);
  co_return result;
}

/// Pulls everything, a few clusters at a time beside the requests, and commits.
Task<int> Core::pull_all(Core& self) {
  PullGroup group;
  for (std::uint64_t n = 0; n < self.cluster_count_ && group.result == 0; ++n) {
    if (self.stop_waiting_ || self.drain_cancelled_) group.result = -ECANCELED;
    if (group.result < 0 || !self.in_overlay(self.map_.get(n))) continue;
    while (group.running >= kPullsAtATime)
      co_await group.ended.wait();
    ++group.running;
    pull_in_background(self, n, &group);
  }
  while (group.running > 0)
    co_await group.ended.wait();
  if (group.result < 0) co_return group.result;
  // A cluster that was partial when it was looked at may have been taken for pulled; the commit completes it.
  const int result = co_await flush(self);
  if (result < 0) co_return result;
  co_return self.overlay_left_ == 0 ? 0 : -EAGAIN;
}

/// The overlay's table page without the slots of what the top durably has now, in place of the i-th page
/// image of the round. A guest cluster counts when the round wrote a slot for it, or when it was discarded
/// since, so that reading what is below is right. Gives how many slots it clears; 0: nothing to write.
std::uint64_t Core::build_unmasked(std::size_t i) {
  const std::uint32_t page = round_.pages[i];
  std::byte* image = round_.images.data() + i * format::kTablePageSize;
  const format::PageSlots slots = format::slots_of_page(header_.table_entries, page);
  std::uint64_t cleared = 0;
  for (std::uint64_t n = slots.first; n < slots.first + slots.count; ++n) {
    if (overlay_table_[n] == 0 || (durable_[n] == 0 && map_.get(n).mapped())) continue;
    overlay_table_[n] = 0;  // before it is on disk: when that fails, the device fails for good
    ++cleared;
  }
  if (cleared == 0) return 0;
  if (page == 0) {
    const auto header = format::encode_header(overlay_header_);
    std::memcpy(image, header.data(), header.size());
  }
  const std::span kept = std::span(overlay_table_).subspan(slots.first, slots.count);
  if (!format::encode_table_page(overlay_header_, page, kept, {image, format::kTablePageSize})) std::abort();
  return cleared;
}

/// After settle(): clears the overlay's slots for what the top has.
Task<int> Core::unmask(Core& self) {
  std::uint64_t cleared = 0;
  for (std::size_t i = 0; i < self.round_.count; ++i) {
    const std::uint64_t gone = self.build_unmasked(i);
    if (gone == 0) continue;
    const std::span<std::byte> image(self.round_.images.data() + i * format::kTablePageSize,
                                     format::kTablePageSize);
    const std::uint64_t at = format::page_offset(self.round_.pages[i]);
    int put = co_await io::write(*self.ring_, *self.overlay_, image, at);
    while (self.can_wait(put)) {  // as in write_pages()
      [[maybe_unused]] const int paused = co_await pause_for_space(self);
      put = co_await io::write(*self.ring_, *self.overlay_, image, at);
    }
    if (put < 0) {
      self.fail_device();
      co_return -EIO;
    }
    cleared += gone;
  }
  if (cleared == 0) co_return 0;
  const int result = co_await io::sync(*self.ring_, *self.overlay_);
  self.stats.barriers.add();
  if (result < 0) {
    self.fail_device();
    co_return -EIO;
  }
  self.overlay_left_ -= cleared;
  co_return 0;
}

}  // namespace ploop::engine
