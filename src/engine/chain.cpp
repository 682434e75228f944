// Other levels under a running device. All of it happens while the device is held: nothing is in flight, the
// tables on disk say what the map says.
//
//   push           an empty delta becomes the top; no entry of the map changes, so the time does not depend
//   on the disk's size drop_overlay   a drained former top goes
//
// Everything else (other lower levels, another size, the beginning of a merge) opens a new core over the same
// map memory; see Device::reopen().

#include <algorithm>

#include "engine/core.hpp"
#include "format/cluster_table.hpp"
#include "image/lifecycle.hpp"
#include "image/stack.hpp"

namespace ploop::engine {
namespace {

Status fits(const image::Delta& delta, const image::Delta& top) {
  const auto refuse = [&](const char* why) {
    return fail(ExitCode::Format, delta.file().name() + ": " + why);
  };
  if (delta.kind() != image::Kind::Ploop1) return refuse("a new top can't be raw");
  if (delta.cluster_sectors() != top.cluster_sectors())
    return refuse("the cluster size is not that of the device");
  if (delta.size_sectors() != top.size_sectors()) return refuse("the size is not that of the device");
  const bool versions_differ =
      top.kind() == image::Kind::Ploop1 && delta.header().version != top.header().version;
  if (versions_differ) return refuse("the format version is not that of the device");
  if (delta.end_cluster() > delta.header().header_clusters()) return refuse("a new top has to be empty");
  return {};
}

}  // namespace

/// Every guest cluster once, and once more for clusters on their way back.
std::uint64_t Core::allocator_limit(const format::Header& header) {
  return header.header_clusters() + 2 * std::uint64_t{header.table_entries} + 64;
}

void Core::prepare_buffers() {
  if (round_.images.size() > 0) return;
  zeros_ = AlignedBuffer(kCopyBytes);
  for (Copy& copy : copies_)
    copy.buffer = AlignedBuffer(kCopyBytes);
  round_.images = AlignedBuffer(kMaxPagesPerCommit * format::kTablePageSize);
  claims_.reserve(128);
}

/// Everything about a new top that takes time. Changes its file only: marked as in use, space for the table
/// reserved.
Result<NewTop> Core::prepare_push(image::Delta delta) const {
  if (!config_.writable) return fail(ExitCode::Param, "The device is read-only");
  if (has_overlay()) return fail(ExitCode::Busy, "A merge of the top is not finished");
  if (deltas_.size() >= image::kMaxLevels) return fail(ExitCode::Param, "The device has too many levels");
  TRY(fits(delta, deltas_.back()));
  NewTop top{std::move(delta), {}, {}, {}};
  top.header = top.delta.header();
  TRY(image::mark_in_use(top.delta.file(), top.header));
  const int reserved =
      top.delta.file().allocate(0, top.header.header_clusters() * top.header.cluster_bytes());
  if (reserved < 0 && reserved != -EOPNOTSUPP) {
    return fail(errno_error(ExitCode::Fallocate, -reserved,
                            "reserve the cluster table of " + top.delta.file().name()));
  }
  const std::uint64_t length = TRY(io::file_size(top.delta.file()));
  top.allocator.reset(top.header.header_clusters(), length >> cluster_shift_, allocator_limit(top.header));
  top.durable.assign(top.header.table_entries, 0);
  top.delta.drop_table();
  return top;
}

/// The top gets the header of a closed image, durably. Undone by unseal_top().
Status Core::seal_top() {
  if (top_is_raw_) return {};
  // The space reserved behind the last cluster goes first: whatever dies next, nobody opens a lower image to
  // trim it. Where it fails, the file is only longer.
  const std::uint64_t end = allocator_.used_end();
  if (end < allocator_.file_clusters() && top_->truncate(end << cluster_shift_) >= 0) {
    allocator_.cut_to(end);
    allocator_.cut_done();
  }
  format::Header closed = header_;
  closed.in_use = format::kClosedMark;
  if (allocator_.used_end() > header_.header_clusters()) closed.flags &= ~format::kFlagEmpty;
  TRY(image::write_header(*top_, closed));
  TRY(io::sync_file(*top_));
  header_ = closed;
  return {};
}

Status Core::unseal_top() {
  return top_is_raw_ ? Status{} : image::mark_in_use(*top_, header_);
}

/// The sealed top becomes read-only, `top` takes the writes.
void Core::push(NewTop top) {
  prepare_buffers();
  deltas_.push_back(std::move(top.delta));
  files_.push_back(&deltas_.back().file());
  top_ = files_.back();
  ++top_level_;
  top_is_raw_ = false;
  header_ = top.header;
  allocator_ = std::move(top.allocator);
  durable_ = std::move(top.durable);
  retired_ = Bitmap();
  retired_.resize(allocator_.limit());
  reclaiming_ = Bitmap();
  reclaiming_.resize(allocator_.limit());
  table_pages_ = format::table_pages(header_.table_entries);
  dirty_pages_ = Bitmap();
  dirty_pages_.resize(table_pages_);
  can_clone_ = config_.allow_clone;
  can_punch_ = true;
  durable_generation_ = data_generation_;
  map_.set_levels(static_cast<std::uint32_t>(deltas_.size()), top_level_);
}

/// The drained former top goes; its file is not touched.
void Core::drop_overlay() {
  overlay_ = nullptr;
  overlay_table_ = {};
  files_.pop_back();
  deltas_.pop_back();
  config_.overlay = false;
  map_.set_levels(static_cast<std::uint32_t>(deltas_.size()), top_level_);
}

}  // namespace ploop::engine
