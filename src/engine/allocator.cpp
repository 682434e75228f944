#include "engine/allocator.hpp"

#include <algorithm>
#include <bit>

namespace ploop::engine {

std::uint64_t Bitmap::find(bool value, std::uint64_t from, std::uint64_t end) const {
  while (from < end) {
    const std::uint64_t word = value ? words_[from / 64] : ~words_[from / 64];
    const std::uint64_t rest = word >> (from % 64);
    if (rest != 0) return std::min(end, from + static_cast<std::uint64_t>(std::countr_zero(rest)));
    from = (from / 64 + 1) * 64;
  }
  return end;
}

void Allocator::reset(std::uint32_t first, std::uint64_t file_clusters, std::uint64_t limit) {
  first_ = first;
  file_clusters_ = std::max<std::uint64_t>(file_clusters, first);
  limit_ = std::max(limit, file_clusters_);
  used_ = {};
  clean_ = {};
  used_.resize(limit_);
  clean_.resize(limit_);
  search_from_ = first;
  fresh_from_ = first;
}

void Allocator::mark_used(std::uint32_t cluster) {
  used_.set(cluster);
  fresh_from_ = std::max<std::uint64_t>(fresh_from_, std::uint64_t{cluster} + 1);
}

std::optional<Allocator::Taken> Allocator::take() {
  const std::uint64_t c = used_.find(false, search_from_, file_clusters_);
  search_from_ = c;
  if (c == file_clusters_) return std::nullopt;
  const bool hole = c < fresh_from_;
  const bool clean = clean_.test(c);
  used_.set(c);
  clean_.clear(c);
  search_from_ = c + 1;
  fresh_from_ = std::max(fresh_from_, c + 1);
  return Taken{static_cast<std::uint32_t>(c), clean, hole};
}

void Allocator::give_back(std::uint32_t cluster, bool clean) {
  used_.clear(cluster);
  if (clean) {
    clean_.set(cluster);
  } else {
    clean_.clear(cluster);
  }
  search_from_ = std::min<std::uint64_t>(search_from_, cluster);
}

void Allocator::extended_to(std::uint64_t file_clusters) {
  for (std::uint64_t c = file_clusters_; c < file_clusters; ++c) {
    if (c < unknown_end_) {
      clean_.clear(c);
    } else {
      clean_.set(c);
    }
  }
  file_clusters_ = std::max(file_clusters_, file_clusters);
}

void Allocator::cut_to(std::uint64_t file_clusters) {
  unknown_end_ = std::max(unknown_end_, file_clusters_);
  file_clusters_ = file_clusters;
  fresh_from_ = std::min(fresh_from_, file_clusters_);
  search_from_ = std::min(search_from_, file_clusters_);
}

std::uint64_t Allocator::used_between(std::uint64_t from, std::uint64_t end) const {
  std::uint64_t count = 0;
  for (std::uint64_t c = used_.find(true, from, end); c < end;) {
    const std::uint64_t last = used_.find(false, c, end);
    count += last - c;
    c = used_.find(true, last, end);
  }
  return count;
}

std::uint64_t Allocator::used_end() const {
  for (std::uint64_t c = fresh_from_; c > first_; --c) {
    if (used_.test(c - 1)) return c;
  }
  return first_;
}

}  // namespace ploop::engine
