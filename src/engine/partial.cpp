// Clusters whose first write was smaller than the cluster, over data of a lower level, without reflinks. The
// top's cluster holds the sectors that were written; a record in the map memory says which, and where the
// others are. The record goes when every sector has been written (the lower level is then never read), or
// when the cluster is filled from below: because a flush must commit it, or because records ran out.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/core.hpp"

namespace ploop::engine {
namespace {

bool all_zero(const std::byte* data, std::size_t size) {
  return size == 0 || (data[0] == std::byte{0} && std::memcmp(data, data + 1, size - 1) == 0);
}

}  // namespace

/// All sectors are in the top: an ordinary cluster from now on.
void Core::finish_partial(std::uint16_t index) {
  PartialRecord record = map_.record(index);
  const std::uint64_t cluster = record.guest_cluster();
  map_.set(cluster, map_.get(cluster).as_complete());
  mark_dirty(cluster);
  record.release();
  --partials_in_use_;
}

/// Nothing was written to the cluster, and there is no room for it: the lower level has it again, and flushes
/// need no space for it.
void Core::undo_partial(std::uint16_t index) {
  PartialRecord record = map_.record(index);
  const std::uint64_t cluster = record.guest_cluster();
  const std::uint32_t image_cluster = map_.get(cluster).cluster();
  map_.set(cluster, record.lower());
  record.release();
  --partials_in_use_;
  release_cluster(cluster, image_cluster);
}

/// A write or partial zeroing of a partial cluster. -EAGAIN: the cluster changed its nature while waiting;
/// look again.
Task<int> Core::write_partial(Core& self, Piece piece) {
  const Entry e = self.map_.get(piece.cluster);
  const std::uint16_t index = e.record();
  PartialState& state = self.partials_[index];
  if (state.filling) {
    co_await state.changed.wait();
    co_return -EAGAIN;
  }
  ++state.writers;
  const std::uint64_t at = (std::uint64_t{e.cluster()} << self.cluster_shift_) + piece.offset;
  const int result = co_await write_file(self, at, piece.length, piece.data);
  PartialRecord record = self.map_.record(index);
  if (result == 0) {
    record.set_present(static_cast<std::uint32_t>(piece.offset / kSectorSize),
                       static_cast<std::uint32_t>(piece.length / kSectorSize));
  }
  if (--state.writers == 0) {
    // While filling waits for the writers it also decides when the record ends.
    if (!state.filling && record.all_present()) self.finish_partial(index);
    state.changed.wake_all(*self.ring_);
  }
  co_return result;
}

/// Zeroing of a whole partial cluster.
Task<int> Core::zero_partial(Core& self, std::uint64_t cluster) {
  const Entry e = self.map_.get(cluster);
  const std::uint16_t index = e.record();
  PartialState& state = self.partials_[index];
  if (state.filling) {
    co_await state.changed.wait();
    co_return -EAGAIN;
  }
  state.filling = true;
  while (state.writers > 0)
    co_await state.changed.wait();
  const int result =
      co_await zero_file(self, std::uint64_t{e.cluster()} << self.cluster_shift_, self.cluster_bytes_);
  if (result == 0) self.finish_partial(index);
  state.filling = false;
  state.changed.wake_all(*self.ring_);
  co_return result;
}

/// Completes one partial cluster from below. 0 also when somebody else did; a flush relies on it, so somebody
/// else's attempt is waited for to its end and repeated when it failed. kUndone: there is nothing to complete
/// any more.
Task<int> Core::fill(Core& self, std::uint16_t index) {
  PartialState& state = self.partials_[index];
  if (!self.map_.record(index).in_use()) co_return 0;
  const std::uint64_t cluster = self.map_.record(index).guest_cluster();
  while (state.filling)
    co_await state.changed.wait();
  const PartialRecord now = self.map_.record(index);
  if (!now.in_use() || now.guest_cluster() != cluster) co_return 0;
  state.filling = true;
  std::size_t copy = 0;
  for (;;) {
    copy = 0;
    while (copy < kCopyBuffers && self.copies_[copy].busy)
      ++copy;
    if (copy < kCopyBuffers) break;
    co_await self.copy_released_.wait();
  }
  self.copies_[copy].busy = true;
  while (state.writers > 0)
    co_await state.changed.wait();
  int result = co_await fill_absent(self, index, self.copies_[copy].buffer.data());
  const bool no_space = io::is_no_space(result);
  if (result == 0) {
    self.stats.fills.add();
    self.finish_partial(index);
  } else if (no_space && self.map_.record(index).none_present()) {
    self.undo_partial(index);
    result = kUndone;
  }
  self.copies_[copy].busy = false;
  self.copy_released_.wake_all(*self.ring_);
  state.filling = false;
  state.changed.wake_all(*self.ring_);
  co_return result;
}

Task<int> Core::fill_absent(Core& self, std::uint16_t index, std::byte* buffer) {
  const PartialRecord record = self.map_.record(index);
  const std::uint64_t cluster = record.guest_cluster();
  const std::uint64_t at = std::uint64_t{self.map_.get(cluster).cluster()} << self.cluster_shift_;
  const auto sectors = static_cast<std::uint32_t>(self.cluster_bytes_ / kSectorSize);
  constexpr auto kCopySectors = static_cast<std::uint32_t>(kCopyBytes / kSectorSize);
  for (std::uint32_t sector = 0; sector < sectors;) {
    const std::uint32_t count = record.run(sector, std::min(sectors - sector, kCopySectors));
    const std::uint64_t offset = std::uint64_t{sector} * kSectorSize;
    const std::uint64_t length = std::uint64_t{count} * kSectorSize;
    if (!record.present(sector)) {
      const Extent below = self.extent_of(record.lower(), offset, length);
      int result = co_await read_extent(self, below, buffer);
      if (result < 0) co_return result;
      self.stats.fill_bytes.add(length);
      // The cluster reads as zeros where nothing was written, so zeros need no write.
      if (!all_zero(buffer, length)) result = co_await write_file(self, at + offset, length, buffer);
      if (result < 0) co_return result;
    }
    sector += count;
  }
  co_return 0;
}

/// A free record; fills an old partial cluster when there is none.
Task<int> Core::take_record(Core& self, std::uint16_t* index) {
  const std::uint16_t count = self.map_.geometry().partial_records();
  for (;;) {
    if (self.failed_) co_return -EIO;
    for (std::uint16_t i = 0; i < count; ++i) {
      if (!self.map_.record(i).in_use() && !self.partials_[i].filling && self.partials_[i].writers == 0) {
        *index = i;
        co_return 0;
      }
    }
    // One that can't be completed must not stop those that have nothing to do with it.
    int result = -EIO;
    bool full = false;
    for (std::uint16_t tried = 0; tried < count && result < 0 && result != kUndone; ++tried) {
      self.next_victim_ = static_cast<std::uint16_t>((self.next_victim_ + 1) % count);
      result = co_await fill(self, self.next_victim_);
      full |= io::is_no_space(result);
    }
    if (result < 0 && result != kUndone) co_return full ? -ENOSPC : result;  // that can be waited for
  }
}

/// Fills that run side by side for one commit.
struct FillGroup {
  std::uint32_t running = 0;
  int result = 0;
  WaitList ended;
};

Detached Core::fill_in_background(Core& self, std::uint16_t index, FillGroup* group) {
  const int result = co_await fill(self, index);
  if (result < 0 && result != kUndone) group->result = result;
  if (--group->running == 0) group->ended.wake_all(*self.ring_);
}

/// Completes every cluster that is partial now. New ones may appear meanwhile; they belong to the next
/// commit.
Task<int> Core::fill_all(Core& self) {
  FillGroup group;
  const std::uint16_t count = self.map_.geometry().partial_records();
  group.running = 1;
  for (std::uint16_t i = 0; i < count; ++i) {
    if (!self.map_.record(i).in_use()) continue;
    ++group.running;
    fill_in_background(self, i, &group);
  }
  --group.running;
  while (group.running > 0)
    co_await group.ended.wait();
  co_return group.result;
}

}  // namespace ploop::engine
