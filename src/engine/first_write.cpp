// Taking a cluster of the top for a guest cluster that it does not have yet.
//
// The map entry is stored at the moment from which the new cluster reads correctly, never earlier:
//
//   nothing below            the cluster reads as zeros: entry at once, then the write goes in place
//   whole cluster written    data first, then the entry
//   whole cluster zeroed     the cluster reads as zeros: entry
//   reflink                  parent's cluster cloned, then the entry, then the write goes in place
//   otherwise                entry with a partial record that says "all sectors are below"; then the write
//   goes the partial way
//
// A writer that dies in between leaves at most a cluster that nothing refers to.

#include <algorithm>
#include <cerrno>

#include "engine/core.hpp"

namespace ploop::engine {

void Core::map_top(std::uint64_t cluster, std::uint32_t image_cluster, bool below) {
  map_.set(cluster, Entry::at(top_level_, image_cluster).with_below(below));
  mark_dirty(cluster);
}

/// The guest cluster reads as zeros from now on.
void Core::unmap_top(std::uint64_t cluster) {
  const std::uint32_t image_cluster = map_.get(cluster).cluster();
  map_.set(cluster, Entry());
  mark_dirty(cluster);
  release_cluster(cluster, image_cluster);
}

/// The live map names this image cluster no more. It is retired when no table on disk names it either;
/// otherwise the commit that changes the slot finds it.
void Core::release_cluster(std::uint64_t cluster, std::uint32_t image_cluster) {
  if (sabotaged(Sabotage::ClearBeforeReuse)) {
    allocator_.give_back(image_cluster, false);
    return;
  }
  bool found = false;
  const bool on_its_way = captured(cluster, &found) == image_cluster && found;
  if (durable_[cluster] != image_cluster && !on_its_way) retire(image_cluster);
}

/// One first writer per guest cluster. *written: the piece itself is done too. 0 without *written: look at
/// the map again.
Task<int> Core::take_cluster(Core& self, Piece piece, bool* written) {
  for (const Claim& c : self.claims_) {
    if (c.active && c.cluster == piece.cluster) {
      co_await self.claim_released_.wait();
      co_return 0;
    }
  }
  std::size_t slot = 0;
  while (slot < self.claims_.size() && self.claims_[slot].active)
    ++slot;
  if (slot == self.claims_.size()) self.claims_.emplace_back();
  self.claims_[slot] = Claim{piece.cluster, true};

  std::uint32_t image_cluster = 0;
  int result = co_await allocate(self, &image_cluster);
  if (result == 0) {
    const Entry lower = self.map_.get(piece.cluster);
    if (!lower.mapped()) {
      self.map_top(piece.cluster, image_cluster, false);
    } else {
      result = co_await copy_up(self, piece, image_cluster, lower, written);
      if (result < 0) self.allocator_.give_back(image_cluster, false);
    }
  }
  self.claims_[slot].active = false;
  self.claim_released_.wake_all(*self.ring_);
  co_return result;
}

/// First write over data of a lower level, into a cluster that reads as zeros.
Task<int> Core::copy_up(Core& self, Piece piece, std::uint32_t image_cluster, Entry lower, bool* written) {
  const std::uint64_t at = std::uint64_t{image_cluster} << self.cluster_shift_;
  if (self.covers_cluster(piece)) {
    // Zeroing punches too, although the cluster reads as zeros: its blocks may come from an extension.
    const int result = co_await write_file(self, at, piece.length, piece.data);
    if (result < 0) co_return result;
    self.map_top(piece.cluster, image_cluster, self.below_of(lower));
    *written = true;
    co_return 0;
  }
  const Extent below = self.extent_of(lower, 0, self.cluster_bytes_);
  if (self.can_clone_ && !below.raw) {
    self.top_write_begins();
    const int result =
        co_await io::clone(*self.ring_, *below.file, below.offset, *self.top_, at, below.length);
    self.top_write_ended(at, below.length);
    if (result == 0) {
      self.note_data_changed();
      self.stats.clones.add();
      self.map_top(piece.cluster, image_cluster, self.below_of(lower));
      co_return 0;
    }
    if (io::is_no_space(result) || result == -EIO) co_return result;
    self.can_clone_ = false;
  }
  std::uint16_t index = 0;
  const int result = co_await take_record(self, &index);
  if (result < 0) co_return result;
  self.map_.record(index).take(piece.cluster, lower);
  ++self.partials_in_use_;
  const Entry partial =
      Entry::at(self.top_level_, image_cluster).with_below(self.below_of(lower)).as_partial(index);
  self.map_.set(piece.cluster, partial);
  self.arm_timer();
  co_return 0;
}

/// A free cluster of the top's file that reads as zeros.
Task<int> Core::allocate(Core& self, std::uint32_t* image_cluster) {
  for (;;) {
    if (self.failed_) co_return -EIO;
    const auto taken = self.allocator_.take();
    if (!taken) {
      const int result = co_await extend(self);
      if (result < 0) co_return result;
      continue;
    }
    if (format::slot_from_cluster(self.header_, taken->cluster) == format::kInvalidSlot) {
      self.allocator_.give_back(taken->cluster, taken->clean);
      co_return -EFBIG;
    }
    if (!taken->clean) {
      const std::uint64_t at = std::uint64_t{taken->cluster} << self.cluster_shift_;
      const int result = co_await zero_file(self, at, self.cluster_bytes_);
      if (result < 0) {
        self.allocator_.give_back(taken->cluster, false);
        co_return result;
      }
    }
    self.stats.allocated.add();
    if (taken->hole) self.stats.reused.add();
    *image_cluster = taken->cluster;
    co_return 0;
  }
}

/// Makes the file longer: by a quarter, at least 4 MiB and at most 64 MiB, or one cluster when space is
/// short.
Task<int> Core::extend(Core& self) {
  if (self.extending_) {
    co_await self.extended_.wait();
    co_return 0;
  }
  const std::uint64_t have = self.allocator_.file_clusters();
  if (have >= self.allocator_.limit()) co_return -EFBIG;
  std::uint64_t step =
      std::clamp<std::uint64_t>(have / 4, std::max<std::uint64_t>(1, (4 * kMiB) >> self.cluster_shift_),
                                std::max<std::uint64_t>(1, (64 * kMiB) >> self.cluster_shift_));
  step = std::min(step, self.allocator_.limit() - have);
  self.extending_ = true;
  int result = -ENOSPC;
  // In memory file systems reserving means taking memory now, for nothing: blocks there are never far apart.
  const bool reserve = !self.top_->immediate();
  while (step > 0 && io::is_no_space(result)) {
    if (reserve) {
      result = co_await io::allocate(*self.ring_, *self.top_, have << self.cluster_shift_,
                                     step << self.cluster_shift_);
    }
    if (!reserve || result == -EOPNOTSUPP) {
      result = co_await io::truncate(*self.ring_, *self.top_, (have + step) << self.cluster_shift_);
    }
    if (result < 0) step /= 2;
  }
  self.note_data_changed();
  self.extended_since_barrier_ = true;
  self.extending_ = false;
  if (result >= 0) self.allocator_.extended_to(have + step);
  self.extended_.wake_all(*self.ring_);
  co_return result < 0 ? result : 0;
}

}  // namespace ploop::engine
