#include "engine/tracker.hpp"

#include <algorithm>
#include <bit>

#include "base/units.hpp"

namespace ploop::engine {

Status Tracker::start(std::uint64_t file_limit) {
  if (active_)
    return fail(ExitCode::Busy, "Writes to this device are being tracked already: another copy is running");
  limit_ = file_limit;
  shift_ = kMinShift;
  while (div_up(limit_, granularity()) > kMaxBits)
    ++shift_;
  bits_ = div_up(limit_, granularity());
  words_.assign(div_up(bits_, 64), 0);
  position_ = 0;
  cursor_ = 0;
  dirty_ = 0;
  active_ = true;
  return {};
}

Status Tracker::set_position(std::uint64_t bytes) {
  if (!active_) return fail(ExitCode::Param, "Writes are not being tracked");
  if (bytes == 0) {
    std::ranges::fill(words_, 0);
    dirty_ = 0;
    cursor_ = 0;
  } else if (bytes < position_ || bytes > limit_) {
    return fail(ExitCode::Param, "The position of the write tracker cannot be set there");
  }
  position_ = bytes;
  return {};
}

/// Calls change(word, mask) for the words that hold bits [first, last).
template <typename Change>
void Tracker::change_words(std::uint64_t first, std::uint64_t last, Change change) {
  while (first < last) {
    const std::uint64_t stop = std::min(last, (first / 64 + 1) * 64);
    const std::uint64_t count = stop - first;
    const std::uint64_t ones = count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    change(words_[first / 64], ones << (first % 64));
    first = stop;
  }
}

void Tracker::set_bits(std::uint64_t first, std::uint64_t last) {
  change_words(first, last, [this](std::uint64_t& word, std::uint64_t mask) {
    dirty_ += static_cast<std::uint64_t>(std::popcount(mask & ~word));
    word |= mask;
  });
}

void Tracker::clear_bits(std::uint64_t first, std::uint64_t last) {
  change_words(first, last, [this](std::uint64_t& word, std::uint64_t mask) {
    dirty_ -= static_cast<std::uint64_t>(std::popcount(mask & word));
    word &= ~mask;
  });
}

std::uint64_t Tracker::find(bool value, std::uint64_t from) const {
  while (from < bits_) {
    const std::uint64_t word = value ? words_[from / 64] : ~words_[from / 64];
    const std::uint64_t rest = word >> (from % 64);
    if (rest != 0) return std::min(bits_, from + static_cast<std::uint64_t>(std::countr_zero(rest)));
    from = (from / 64 + 1) * 64;
  }
  return bits_;
}

void Tracker::record(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = std::min(offset + length, position_);
  if (offset >= end) return;
  set_bits(offset >> shift_, div_up(end, granularity()));
}

Tracker::Batch Tracker::read(std::span<FileExtent> out, std::uint64_t used_end, std::uint64_t file_end) {
  Batch batch;
  if (!active_) return batch;
  while (batch.count < out.size()) {
    const std::uint64_t first = find(true, cursor_);
    if (first == bits_) break;
    const std::uint64_t last = find(false, first);
    clear_bits(first, last);
    cursor_ = last;
    // A granule reaches beyond the end of a file that is no multiple of it, and the file may have become
    // shorter.
    const FileExtent extent{first << shift_, std::min(last << shift_, file_end)};
    if (extent.start < extent.end) out[batch.count++] = extent;
  }
  if (batch.count == out.size()) return batch;
  if (position_ < used_end) {
    // From a whole granule on: whoever reads with direct I/O can do so, and a little is read twice.
    out[batch.count++] = {round_down(position_, granularity()), used_end};
    position_ = used_end;
  }
  cursor_ = 0;
  batch.round_complete = true;
  return batch;
}

Status Tracker::stop(std::uint64_t used_end, bool writing) {
  if (!active_) return fail(ExitCode::Param, "Writes are not being tracked");
  if (dirty_ != 0 || writing || position_ < used_end) {
    return fail(ExitCode::Busy, "There were writes to the device since the last look");
  }
  abort();
  return {};
}

void Tracker::abort() {
  active_ = false;
  dirty_ = 0;
  words_ = {};
  bits_ = 0;
}

}  // namespace ploop::engine
