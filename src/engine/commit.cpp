// Flush: the point at which the live map becomes what the table on disk says.
//
// One commit runs at a time; flushes that arrive meanwhile share the next one. A commit goes through the
// dirty table pages in rounds:
//
//   capture   page images are built; they hold the durable state plus complete entries, nothing that is still
//   on its way barrier   everything the captured entries refer to is durable from here on pages     written
//   in place; every 4-byte slot is old or new independently of its neighbours barrier   from here on the
//   captured state is the durable one settle    clusters that were in the old table and are not in the new
//   one may go back
//
// A failed barrier or page write fails the device for good.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/endian.hpp"
#include "engine/core.hpp"
#include "format/cluster_table.hpp"

namespace ploop::engine {

void Core::mark_dirty(std::uint64_t cluster) {
  const std::uint32_t page = format::page_of_slot(cluster);
  if (!dirty_pages_.test(page)) {
    dirty_pages_.set(page);
    ++dirty_pages_count_;
  }
  arm_timer();
}

void Core::arm_timer() {
  if (timer_.armed || committing_ || failed_) return;
  timer_.armed = true;
  ring_->submit_timeout(config_.commit_delay_ns, &timer_);
}

void Core::timer_fired(io::Completion* c) {
  auto& timer = *static_cast<TimerCompletion*>(c);
  timer.armed = false;
  Core& self = *timer.core;
  if (self.needs_commit() && !self.committing_ && !self.failed_) commit_loop(self);
}

/// The slot this guest cluster should have on disk: that of a complete cluster of the top, else none.
std::uint32_t Core::wanted(std::uint64_t cluster) const {
  const Entry e = map_.get(cluster);
  return is_top(e) && !e.partial() ? e.cluster() : 0;
}

void Core::build_page(std::uint32_t page, std::byte* image) const {
  const format::PageSlots slots = format::slots_of_page(header_.table_entries, page);
  std::array<std::uint32_t, format::kSlotsPerPage> clusters{};
  for (std::uint32_t i = 0; i < slots.count; ++i)
    clusters[i] = wanted(slots.first + i);
  if (page == 0) {
    const auto header = format::encode_header(header_);
    std::memcpy(image, header.data(), header.size());
  }
  const bool encoded = format::encode_table_page(header_, page, std::span(clusters).first(slots.count),
                                                 {image, format::kTablePageSize});
  if (!encoded) std::abort();  // allocate() refuses clusters without a slot value
}

/// Takes up to kMaxPagesPerCommit dirty pages from *next on, and sets it to the first one that is left.
bool Core::capture(std::uint64_t* next) {
  round_.count = 0;
  std::uint64_t page = *next;
  while (round_.count < kMaxPagesPerCommit) {
    page = dirty_pages_.find(true, page, table_pages_);
    if (page == table_pages_) break;
    dirty_pages_.clear(page);
    --dirty_pages_count_;
    build_page(static_cast<std::uint32_t>(page),
               round_.images.data() + round_.count * format::kTablePageSize);
    round_.pages[round_.count++] = static_cast<std::uint32_t>(page);
    ++page;
  }
  *next = dirty_pages_.find(true, page, table_pages_);
  round_active_ = round_.count > 0;
  return round_active_;
}

/// The image cluster that the round in progress writes for this guest cluster.
std::uint32_t Core::captured(std::uint64_t cluster, bool* found) const {
  *found = false;
  if (!round_active_) return 0;
  const std::uint32_t page = format::page_of_slot(cluster);
  for (std::size_t i = 0; i < round_.count; ++i) {
    if (round_.pages[i] != page) continue;
    *found = true;
    le32 slot;
    const std::uint64_t word = (cluster + format::kTableFirstWord) % format::kSlotsPerPage;
    std::memcpy(&slot, round_.images.data() + i * format::kTablePageSize + word * 4, 4);
    return format::cluster_from_slot(header_, slot);
  }
  return 0;
}

Task<int> Core::barrier(Core& self) {
  const std::uint64_t generation = self.data_generation_;
  const int result = co_await io::sync(*self.ring_, *self.top_);
  self.stats.barriers.add();
  if (result < 0) {
    self.fail_device();
    co_return -EIO;
  }
  self.durable_generation_ = std::max(self.durable_generation_, generation);
  co_return 0;
}

/// Writes the captured pages, neighbours together.
Task<int> Core::write_pages(Core& self) {
  Round& round = self.round_;
  for (std::size_t i = 0; i < round.count;) {
    std::size_t n = 1;
    while (i + n < round.count && round.pages[i + n] == round.pages[i] + n)
      ++n;
    const std::span<std::byte> data(round.images.data() + i * format::kTablePageSize,
                                    n * format::kTablePageSize);
    const std::uint64_t at = format::page_offset(round.pages[i]);
    self.top_write_begins();
    const int put = co_await io::write(*self.ring_, *self.top_, data, at);
    self.top_write_ended(at, data.size());
    // Possible on copy-on-write file systems only. Written again later: the same bytes, so nothing is lost by
    // waiting.
    if (self.can_wait(put)) {
      [[maybe_unused]] const int paused = co_await pause_for_space(self);
      continue;
    }
    self.note_data_changed();
    if (put < 0) {
      self.fail_device();
      co_return -EIO;
    }
    self.stats.table_pages.add(n);
    i += n;
  }
  co_return 0;
}

/// The captured state is durable: takes it over and lets go of clusters that no table names any more.
void Core::settle() {
  for (std::size_t i = 0; i < round_.count; ++i) {
    const format::PageSlots slots = format::slots_of_page(header_.table_entries, round_.pages[i]);
    std::array<std::uint32_t, format::kSlotsPerPage> stored{};
    format::decode_table_page(round_.pages[i],
                              {round_.images.data() + i * format::kTablePageSize, format::kTablePageSize},
                              std::span(stored).first(slots.count));
    for (std::uint32_t s = 0; s < slots.count; ++s) {
      std::uint32_t& durable = durable_[slots.first + s];
      const std::uint32_t now = format::cluster_from_slot(header_, stored[s]);
      if (durable == now) continue;
      if (durable != 0 && !sabotaged(Sabotage::ClearBeforeReuse)) retire(durable);
      durable = now;
    }
  }
  round_active_ = false;
}

Task<int> Core::commit_round(Core& self) {
  bool skip_first = self.sabotaged(Sabotage::DataBeforePointer);
  skip_first = skip_first || (self.sabotaged(Sabotage::LengthBeforePointer) && self.extended_since_barrier_);
  self.extended_since_barrier_ = false;
  if (self.data_generation_ != self.durable_generation_ && !skip_first) {
    const int result = co_await barrier(self);
    if (result < 0) co_return result;
  }
  if (self.round_.count == 0) co_return 0;
  if (self.sabotaged(Sabotage::NoPassengers)) {
    for (std::size_t i = 0; i < self.round_.count; ++i) {
      self.build_page(self.round_.pages[i], self.round_.images.data() + i * format::kTablePageSize);
    }
  }
  int result = co_await write_pages(self);
  if (result == 0 && !self.sabotaged(Sabotage::UnmaskEarly)) result = co_await barrier(self);
  if (result < 0) {
    self.round_active_ = false;
    co_return result;
  }
  self.stats.commits.add();
  self.settle();
  if (self.has_overlay() && !self.sabotaged(Sabotage::UnmaskNever)) result = co_await unmask(self);
  if (result == 0 && self.sabotaged(Sabotage::UnmaskEarly)) result = co_await barrier(self);
  co_return result;
}

/// Everything acknowledged until now becomes durable. A cluster that can't be completed keeps no other from
/// it, and none that is freed from coming back: its error comes last.
Task<int> Core::commit(Core& self) {
  if (self.failed_) co_return -EIO;
  int filled = 0;
  if (self.any_partial()) filled = co_await fill_all(self);
  // In one sweep over the table: a low page that gets dirty again and again must not keep a high one from its
  // turn. Pages that get dirty behind the sweep are the next commit's business.
  std::uint64_t next = 0;
  do {
    self.capture(&next);
    const int result = co_await commit_round(self);
    if (result < 0) co_return result;
  } while (next < self.table_pages_);
  co_return filled;
}

Detached Core::commit_loop(Core& self) {
  self.committing_ = true;
  do {
    const std::uint64_t ticket = self.flushes_wanted_;
    int result = co_await commit(self);
    // hold() gives up while requests wait.
    while (self.can_wait(result) && (!self.held_ || self.active_ > 0)) {
      [[maybe_unused]] const int paused = co_await pause_for_space(self);
      result = co_await commit(self);
    }
    self.flush_result_ = result;
    self.flushes_done_ = ticket;
    self.committed_.wake_all(*self.ring_);
  } while (self.flushes_done_ < self.flushes_wanted_);
  self.committing_ = false;
  if (self.needs_commit()) self.arm_timer();
}

/// Waits until everything acknowledged before is durable. Shares commits with other flushes.
Task<int> Core::flush(Core& self) {
  if (self.failed_) co_return -EIO;
  if (!self.config_.writable) co_return 0;
  if (!self.needs_commit() && !self.committing_ && self.data_generation_ == self.durable_generation_)
    co_return 0;
  const std::uint64_t ticket = ++self.flushes_wanted_;
  if (!self.committing_) commit_loop(self);
  while (self.flushes_done_ < ticket)
    co_await self.committed_.wait();
  co_return self.failed_ ? -EIO : self.flush_result_;
}

}  // namespace ploop::engine
