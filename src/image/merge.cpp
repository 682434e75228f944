#include "image/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "image/editor.hpp"
#include "image/grow.hpp"
#include "image/sparse.hpp"

namespace ploop::image {
namespace {

constexpr std::uint16_t kNoSource = 0xFFFF;

/// One guest cluster to be moved.
struct Item {
  std::uint32_t guest = 0;
  std::uint32_t cluster = 0;  ///< in the source's file
  std::uint16_t source = kNoSource;
};

/// Clusters of the guest that the topmost source has.
std::uint64_t guest_clusters(std::span<const Delta> sources) {
  return div_up(sources.front().size_sectors(), sources.front().cluster_sectors());
}

Item find_item(std::span<const Delta> sources, std::uint32_t guest) {
  for (std::uint16_t i = 0; i < sources.size(); ++i) {
    const Delta& source = sources[i];
    if (source.kind() == Kind::Raw) {
      if (guest < source.raw_clusters()) return {guest, guest, i};
    } else if (guest < source.table().size() && source.table()[guest] != 0) {
      return {guest, source.table()[guest], i};
    }
  }
  return {guest, 0, kNoSource};
}

/// Where the data goes: a raw image has a place for every cluster, a ploop1 image gets one.
class Destination {
 public:
  Destination(Delta& delta, std::uint32_t cluster_sectors)
      : file_(delta.file()), cluster_bytes_(std::uint64_t{cluster_sectors} * kSectorSize) {
    if (delta.kind() == Kind::Ploop1) editor_.emplace(delta);
  }

  Status begin(std::uint64_t size_sectors, const MergeOptions& options) {
    if (!editor_)
      return resize_raw(file_, std::max(size_sectors * kSectorSize, TRY(io::file_size(file_))), kSectorSize);
    TRY(editor_->begin());
    if (size_sectors <= editor_->header().size_sectors) return {};
    const format::Header grown = TRY(grown_header(editor_->header(), size_sectors));
    return grow_table(*editor_, grown, {.cancelled = options.cancelled, .moved = options.moved});
  }

  [[nodiscard]] bool has(std::uint32_t guest) const { return !editor_ || editor_->cluster_of(guest) != 0; }

  /// Byte offset of the guest cluster in the file; takes a new cluster when it has none.
  Result<std::uint64_t> place(std::uint32_t guest) {
    if (!editor_) return guest * cluster_bytes_;
    std::uint32_t cluster = editor_->cluster_of(guest);
    if (cluster == 0) {
      cluster = TRY(editor_->allocate());
      editor_->map(guest, cluster);
    }
    return cluster * cluster_bytes_;
  }

  Status commit() { return editor_ ? editor_->commit() : Status{}; }
  Status finish() { return editor_ ? editor_->finish() : io::sync_file(file_); }

 private:
  io::BlockFile& file_;
  std::uint64_t cluster_bytes_;
  std::optional<Editor> editor_;
};

class Merger {
 public:
  Merger(std::span<const Delta> sources, Delta& destination, const MergeOptions& options)
      : sources_(sources),
        destination_(destination, sources.front().cluster_sectors()),
        options_(options),
        cluster_bytes_(sources.front().cluster_bytes()),
        copier_(destination.file(), cluster_bytes_),
        zero_probe_(options.nothing_below ? cluster_bytes_ : 0),
        total_(merge_bytes(sources)) {}

  Result<CopyTotals> run();

 private:
  void plan(std::uint64_t first, std::uint64_t end);
  Status work_off();
  Status append(const Item& item);
  [[nodiscard]] std::uint64_t longest_run() const;
  Result<bool> left_out(const Item& item);
  Status end_run();
  Status flush_run();
  Status pause_if_due(bool due);

  std::span<const Delta> sources_;
  Destination destination_;
  const MergeOptions& options_;
  std::uint64_t cluster_bytes_;
  Copier copier_;
  AlignedBuffer zero_probe_;  ///< one cluster, when zeros are looked for
  std::vector<Item> items_;
  CopyRun run_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  std::uint64_t uncommitted_copies_ = 0;
};

Result<CopyTotals> Merger::run() {
  TRY(destination_.begin(sources_.front().size_sectors(), options_));
  const std::uint64_t clusters = guest_clusters(sources_);
  for (std::uint64_t first = 0; first < clusters; first += options_.batch.guest_clusters) {
    plan(first, std::min(clusters, first + options_.batch.guest_clusters));
    if (items_.empty()) continue;
    TRY(work_off());
    TRY(pause_if_due(true));
  }
  TRY(destination_.finish());
  return copier_.totals();
}

/// Finds what to move among these guest clusters.
void Merger::plan(std::uint64_t first, std::uint64_t end) {
  items_.clear();
  for (std::uint64_t guest = first; guest < end; ++guest) {
    const Item item = find_item(sources_, static_cast<std::uint32_t>(guest));
    if (item.source != kNoSource) items_.push_back(item);
  }
  // Sharing costs per call: in the order of the source file runs are longest. A copy rather puts the guest's
  // order right.
  if (!copier_.can_clone()) return;
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
    return std::pair(a.source, a.cluster) < std::pair(b.source, b.cluster);
  });
}

Status Merger::work_off() {
  for (const Item& item : items_)
    TRY(append(item));
  return flush_run();
}

/// Adds to the current run, or begins a new one. Nothing is given a place while a commit may come before its
/// data: the page would carry its slot.
Status Merger::append(const Item& item) {
  if (run_.length >= longest_run()) TRY(end_run());
  if (TRY(left_out(item))) {
    done_ += cluster_bytes_;
    return {};
  }
  io::BlockFile* file = &sources_[item.source].file();
  const std::uint64_t from = item.cluster * cluster_bytes_;
  const bool follows = run_.length != 0 && run_.source == file && run_.source_offset + run_.length == from;
  if (!follows) TRY(end_run());
  const std::uint64_t to = TRY(destination_.place(item.guest));
  if (run_.length != 0 && run_.offset + run_.length != to) TRY(flush_run());
  if (run_.length == 0) run_ = {file, from, to, 0};
  run_.length += cluster_bytes_;
  return {};
}

/// The first run is short: it tells whether the file system shares.
std::uint64_t Merger::longest_run() const {
  if (done_ == 0) return cluster_bytes_;
  return copier_.can_clone() ? options_.batch.run_bytes : options_.batch.run_bytes / 32;
}

/// Zeros that would only make a new image longer.
Result<bool> Merger::left_out(const Item& item) {
  if (!options_.nothing_below || destination_.has(item.guest)) return false;
  return reads_as_zeros(sources_[item.source].file(), item.cluster * cluster_bytes_, zero_probe_.span(),
                        copier_.can_clone());
}

Status Merger::end_run() {
  TRY(flush_run());
  return pause_if_due(uncommitted_copies_ >= options_.batch.copied_bytes);
}

Status Merger::flush_run() {
  if (run_.length == 0) return {};
  const std::uint64_t cloned = copier_.totals().cloned_bytes;
  TRY(copier_.run(run_));
  done_ += run_.length;
  if (copier_.totals().cloned_bytes == cloned) uncommitted_copies_ += run_.length;
  run_ = {};
  report_progress(options_.progress, done_, total_);
  return {};
}

/// A safe point: what was moved so far counts. Only between runs.
Status Merger::pause_if_due(bool due) {
  const bool cancelled = options_.cancelled && options_.cancelled();
  if (!due && !cancelled) return {};
  uncommitted_copies_ = 0;
  TRY(destination_.commit());
  if (!cancelled) return {};
  return fail(ExitCode::System, "The merge was cancelled; it goes on when it is started again");
}

Status check_pair(const Delta& upper, const Delta& lower) {
  if (upper.kind() == Kind::Ploop1 && lower.kind() == Kind::Ploop1) {
    if (upper.header().version != lower.header().version) {
      return fail(ExitCode::Format, fmt::format("Wrong version {} {} [prev {}]", lower.file().name(),
                                                static_cast<int>(lower.header().version),
                                                static_cast<int>(upper.header().version)));
    }
  }
  if (upper.cluster_sectors() != lower.cluster_sectors()) {
    return fail(ExitCode::Format, fmt::format("Wrong blocksize {} bs={} [prev bs={}]", lower.file().name(),
                                              lower.cluster_sectors(), upper.cluster_sectors()));
  }
  return {};
}

/// The top's size is the size of the device. A lower one may be larger than those between: an interrupted
/// merge has grown the destination.
Status check_size(const Delta& top, const Delta& other) {
  if (div_up(other.size_sectors(), other.cluster_sectors()) <=
      div_up(top.size_sectors(), top.cluster_sectors()))
    return {};
  return fail(ExitCode::Format,
              fmt::format("Image {} ({} sectors) is larger than {} ({} sectors) above it",
                          other.file().name(), other.size_sectors(), top.file().name(), top.size_sectors()));
}

}  // namespace

Status check_mergeable(std::span<const Delta> sources, const Delta& destination) {
  if (sources.empty()) return fail(ExitCode::Param, "Nothing to merge");
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].kind() == Kind::Raw && i + 1 != sources.size()) {
      return fail(ExitCode::Format,
                  fmt::format("Only the lowest image can be raw, and {} is not", sources[i].file().name()));
    }
    const Delta& below = i + 1 < sources.size() ? sources[i + 1] : destination;
    TRY(check_pair(sources[i], below));
    TRY(check_size(sources.front(), below));
  }
  return {};
}

std::uint64_t merge_bytes(std::span<const Delta> sources) {
  std::uint64_t clusters = 0;
  for (std::uint64_t guest = 0; guest < guest_clusters(sources); ++guest)
    clusters += find_item(sources, static_cast<std::uint32_t>(guest)).source != kNoSource ? 1 : 0;
  return clusters * sources.front().cluster_bytes();
}

Result<CopyTotals> merge(std::span<const Delta> sources, Delta& destination, const MergeOptions& options) {
  TRY(check_mergeable(sources, destination));
  return Merger(sources, destination, options).run();
}

}  // namespace ploop::image
