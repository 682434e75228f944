// Opening and closing a device: what happens before the first request and after the last.

#include "engine/device.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "engine/core.hpp"
#include "format/cluster_table.hpp"
#include "image/lifecycle.hpp"
#include "image/stack.hpp"

namespace ploop::engine {
namespace {

/// The allocator keeps a few bits for every cluster of the file. A table that points this far into a sparse
/// file is not the work of any known writer, and must not cost hundreds of megabytes.
constexpr std::uint64_t kMaxTrackedClusters = std::uint64_t{1} << 27;

MapGeometry geometry_of(std::span<const image::Delta> deltas, bool overlay) {
  const image::Delta& top = deltas.back();
  const auto levels = static_cast<std::uint32_t>(deltas.size());
  return {div_up(top.size_sectors() * kSectorSize, top.cluster_bytes()), top.cluster_bytes(), levels,
          levels - (overlay ? 2 : 1)};
}

}  // namespace

/// Lets the stack's own rules decide whether the deltas belong together.
Status Core::check_stack() {
  image::Stack stack = TRY(image::Stack::make(std::move(deltas_)));
  size_bytes_ = stack.size_bytes();
  deltas_ = std::move(stack).release();
  for (image::Delta& delta : deltas_)
    files_.push_back(&delta.file());
  cluster_bytes_ = deltas_.back().cluster_bytes();
  base_is_raw_ = deltas_.front().kind() == image::Kind::Raw;
  return choose_top();
}

/// The level that is written: the last, or the one below while the last is drained into it.
Status Core::choose_top() {
  if (config_.overlay) {
    if (deltas_.size() < 2 || !config_.writable) return fail(ExitCode::Param, "nothing to merge into");
    const image::Delta& overlay = deltas_.back();
    const image::Delta& into = deltas_[deltas_.size() - 2];
    if (into.kind() == image::Kind::Raw || into.size_sectors() != overlay.size_sectors()) {
      return fail(ExitCode::Format,
                  into.file().name() + ": a running disk can't be merged into a raw or smaller image");
    }
    overlay_ = files_.back();
    overlay_header_ = overlay.header();
  }
  top_level_ = static_cast<std::uint16_t>(deltas_.size() - (config_.overlay ? 2 : 1));
  top_ = files_[top_level_];
  const image::Delta& top = top_delta();
  top_is_raw_ = top.kind() == image::Kind::Raw;
  header_ = top.header();
  cluster_shift_ = static_cast<unsigned>(std::countr_zero(cluster_bytes_));
  cluster_count_ = div_up(size_bytes_, cluster_bytes_);
  can_clone_ = config_.allow_clone && deltas_.size() > 1;
  if (config_.writable && size_bytes_ % cluster_bytes_ != 0 && !top_is_raw_) {
    return fail(
        ExitCode::Format,
        top_->name() + ": the size is not a multiple of the cluster size; it can be attached read-only");
  }
  if (config_.writable && top_delta().end_cluster() > kMaxTrackedClusters) {
    return fail(
        ExitCode::Format,
        top_->name() + ": its clusters are scattered over too long a file; it can be attached read-only");
  }
  return {};
}

/// The in-use mark before anything else changes; then space for the table, so that a commit can't run out of
/// it, and a file that ends at a cluster boundary. To a device that has run before, a host without room is no
/// reason to end: XFS wants free blocks even to reserve those that are reserved already.
Status Core::prepare_top() {
  if (!config_.writable || top_is_raw_) return {};
  const bool ran_before = config_.running || header_.is_in_use();
  TRY(image::mark_in_use_again(*top_, header_));
  if (has_overlay()) TRY(image::mark_in_use_again(*overlay_, overlay_header_));
  const int reserved = top_->allocate(0, std::uint64_t{header_.first_block_sectors} * kSectorSize);
  if (reserved < 0 && reserved != -EOPNOTSUPP && !(ran_before && io::is_no_space(reserved))) {
    return fail(errno_error(ExitCode::Fallocate, -reserved, "reserve the cluster table of " + top_->name()));
  }
  const std::uint64_t length = TRY(io::file_size(*top_));
  if (length % cluster_bytes_ != 0) {
    const int cut = top_->truncate(round_down(length, cluster_bytes_));
    if (cut < 0)
      return fail(errno_error(ExitCode::Truncate, -cut, "cut the partial last cluster of " + top_->name()));
  }
  return {};
}

/// Resolves the chain: later levels win and remember that something is below.
void Core::fill_map() {
  for (std::size_t level = 0; level < deltas_.size(); ++level) {
    const image::Delta& delta = deltas_[level];
    const auto number = static_cast<std::uint16_t>(level);
    if (delta.kind() == image::Kind::Raw) {
      const std::uint64_t count =
          top_is_raw_ ? cluster_count_ : std::min(delta.raw_clusters(), cluster_count_);
      for (std::uint64_t n = 0; n < count; ++n)
        map_.set(n, Entry::at(number, static_cast<std::uint32_t>(n)));
      continue;
    }
    const std::span<const std::uint32_t> table = delta.table();
    const std::uint64_t count = std::min<std::uint64_t>(table.size(), cluster_count_);
    for (std::uint64_t n = 0; n < count; ++n) {
      if (table[n] == 0) continue;
      const Entry lower = map_.get(n);
      // Of an overlay's cluster the question is what the level under the top has.
      const bool below = number > top_level_ && is_top(lower) ? lower.below() : lower.mapped();
      map_.set(n, Entry::at(number, table[n]).with_below(below));
    }
  }
}

/// Where the data of an entry of a level under the top is by now.
Result<Entry> Core::looked_up(std::uint64_t guest_cluster, Entry entry) const {
  const bool under_top = entry.mapped() && entry.level() < top_level_;
  if (!under_top || deltas_[entry.level()].kind() == image::Kind::Raw) return entry;
  const std::span<const std::uint32_t> table = deltas_[entry.level()].table();
  if (guest_cluster >= table.size() || table[guest_cluster] == 0) {
    return fail(ExitCode::Format, deltas_[entry.level()].file().name() +
                                      " is not the image that the device had: it lacks cluster " +
                                      std::to_string(guest_cluster));
  }
  return Entry::at(entry.level(), table[guest_cluster]).with_below(entry.below());
}

/// A file under the top may have been exchanged for one with the same content (`replace --keep-name`) that
/// the predecessor had not opened yet. Its clusters lie elsewhere.
Status Core::look_up_lower() {
  for (std::uint64_t n = 0; n < cluster_count_; ++n) {
    const Entry e = map_.get(n);
    if (const Entry now = TRY(looked_up(n, e)); now != e) map_.set(n, now);
  }
  for (std::uint16_t i = 0; i < map_.geometry().partial_records(); ++i) {
    PartialRecord record = map_.record(i);
    if (record.in_use()) record.set_lower(TRY(looked_up(record.guest_cluster(), record.lower())));
  }
  return {};
}

Status Core::adopt_map() {
  std::vector<std::uint64_t> file_clusters;
  for (const image::Delta& delta : deltas_) {
    const bool raw = delta.kind() == image::Kind::Raw;
    file_clusters.push_back(raw ? cluster_count_ : div_up(delta.file_bytes(), cluster_bytes_));
  }
  map_ = TRY(ClusterMap::adopt(config_.map_memory, geometry_of(deltas_, config_.overlay), file_clusters));
  failed_ = map_.failed();
  for (std::uint16_t i = 0; i < map_.geometry().partial_records(); ++i) {
    PartialRecord record = map_.record(i);
    if (!record.in_use()) continue;
    const Entry e = record.guest_cluster() < cluster_count_ ? map_.get(record.guest_cluster()) : Entry();
    if (e.partial() && e.record() == i) {
      ++partials_in_use_;
    } else {
      record.release();  // its owner died between the entry and the record
    }
  }
  return look_up_lower();
}

Status Core::build_map() {
  if (config_.adopt_map && ClusterMap::worth_adopting(config_.map_memory)) {
    TRY(adopt_map());
    // What the predecessor wrote may not have passed a barrier; with one now, the tables on disk are the
    // durable ones.
    if (config_.writable) TRY(io::sync_file(*top_));
    if (has_overlay()) TRY(io::sync_file(*overlay_));
  } else {
    map_ = TRY(ClusterMap::create(config_.map_memory, geometry_of(deltas_, config_.overlay)));
    fill_map();
    map_.finish();
  }
  partials_.resize(map_.geometry().partial_records());
  return {};
}

void Core::build_allocator() {
  const std::span<const std::uint32_t> table = top_delta().table();
  durable_.assign(table.begin(), table.end());
  table_pages_ = format::table_pages(header_.table_entries);
  dirty_pages_.resize(table_pages_);

  // A file may be far longer; what is behind is not needed, and goes when the image is closed.
  std::uint64_t limit = std::max(top_delta().end_cluster(), allocator_limit(header_));
  for (std::uint64_t n = 0; n < cluster_count_; ++n) {
    const Entry e = map_.get(n);  // a predecessor's map may reach farther than the table on disk
    if (is_top(e)) limit = std::max<std::uint64_t>(limit, std::uint64_t{e.cluster()} + 1);
  }
  allocator_.reset(header_.header_clusters(), std::min(top_delta().file_bytes() >> cluster_shift_, limit),
                   limit);
  retired_.resize(allocator_.limit());
  reclaiming_.resize(allocator_.limit());
  for (std::uint64_t n = 0; n < cluster_count_; ++n) {
    if (durable_[n] != 0) allocator_.mark_used(durable_[n]);
    const Entry e = map_.get(n);
    if (is_top(e)) allocator_.mark_used(e.cluster());
    if (wanted(n) != durable_[n]) mark_dirty(n);
  }
}

Status Core::open() {
  if (deltas_.empty()) return fail(ExitCode::Param, "a device needs at least one image");
  TRY(check_stack());
  TRY(prepare_top());
  TRY(build_map());
  if (config_.writable) {
    if (top_is_raw_) zeros_ = AlignedBuffer(kCopyBytes);
    if (!top_is_raw_) {
      prepare_buffers();
      build_allocator();
      if (has_overlay()) build_overlay();
    }
  }
  for (image::Delta& delta : deltas_)
    delta.drop_table();
  return {};
}

/// Everything durable, every freed cluster back.
Detached Core::finish_work(Core& self, int* result, bool* done) {
  self.compact_cancelled_ = true;
  while (self.compacting_)
    co_await self.compacted_.wait();
  while (self.draining_)
    co_await self.drained_.wait();
  *result = co_await flush(self);
  while (self.reclaim_running_)
    co_await self.reclaimed_.wait();
  if (*result == 0) *result = co_await flush(self);
  *done = true;
}

Status Core::close() {
  stop_waiting_ = true;
  if (!config_.writable) return {};
  if (gone_)
    return fail(errno_error(ExitCode::Write, EIO,
                            "The images could not be opened again after a change and stay marked in use"));
  int result = 0;
  bool done = false;
  finish_work(*this, &result, &done);
  while (!done)
    ring_->run_once(true);
  if (timer_.armed) ring_->cancel_timeout(&timer_);
  timer_.armed = false;
  if (result < 0)
    return fail(errno_error(ExitCode::Write, -result, "write the cluster table of " + top_->name()));
  if (has_overlay()) TRY(image::close_image(*overlay_, overlay_header_, overlay_end()));
  if (!top_is_raw_) TRY(image::close_image(*top_, header_, allocator_.used_end()));
  map_.abandon();  // the image says it all, and may change from now on
  return {};
}

std::uint64_t Device::map_bytes(std::span<const image::Delta> deltas) {
  return geometry_of(deltas, false).map_bytes();
}
std::uint64_t Device::map_bytes(std::uint64_t size_bytes, std::uint64_t cluster_bytes) {
  return MapGeometry{div_up(size_bytes, cluster_bytes), cluster_bytes}.map_bytes();
}

std::uint64_t Device::map_layout() {
  return ClusterMap::layout();
}

bool Device::map_is_live(std::span<const std::byte> memory) {
  return ClusterMap::worth_adopting(memory);
}

Device::Device() : stats_(std::make_unique<Stats>()) {}
Device::~Device() = default;

Result<std::unique_ptr<Device>> Device::open(io::Ring& ring, DeviceConfig config) {
  std::unique_ptr<Device> device(new Device());
  device->core_ = std::make_unique<Core>(ring, std::move(config), *device->stats_);
  TRY(device->core_->open());
  return device;
}

Task<int> Device::hold() {
  return Core::hold(*core_);
}
void Device::release() {
  core_->release();
}

Status Device::prepare_push(image::Delta top) {
  pending_ = std::make_unique<NewTop>(TRY(core_->prepare_push(std::move(top))));
  return {};
}

Status Device::seal_top() {
  return core_->seal_top();
}
Status Device::unseal_top() {
  return core_->unseal_top();
}

void Device::push() {
  core_->push(std::move(*pending_));
  pending_.reset();
}

/// A new core over the same memory. The old one gives its top's file and its waiting requests away.
Status Device::reopen(std::vector<image::Delta> lower, bool overlay, std::span<std::byte> map_memory) {
  Core& old = *core_;
  DeviceConfig config;
  config.writable = old.config_.writable;
  config.on_no_space = old.config_.on_no_space;
  config.allow_clone = old.config_.allow_clone;
  config.commit_delay_ns = old.config_.commit_delay_ns;
  config.compact_pass_bytes = old.config_.compact_pass_bytes;
  config.sabotage = old.config_.sabotage;
  config.map_memory = map_memory;
  config.overlay = overlay;
  config.running = true;
  image::OpenOptions understand;
  understand.allow_in_use = true;
  understand.writable = config.writable;
  understand.raw_cluster_sectors = static_cast<std::uint32_t>(old.cluster_bytes_ / kSectorSize);
  const image::Kind kind = old.top_delta().kind();
  old.give_up();
  lower.push_back(TRY(image::Delta::open(old.top_delta().release_file(), kind, understand)));
  config.deltas = std::move(lower);
  auto next = std::make_unique<Core>(*old.ring_, std::move(config), *stats_);
  TRY(next->open());
  next->stop_waiting_ = old.stop_waiting_;
  next->take_held_requests(old);
  core_ = std::move(next);
  core_->map_.abandon();  // until release()
  return {};
}

Task<int> Device::drain_overlay() {
  return Core::drain_overlay(*core_);
}
void Device::cancel_drain() {
  core_->drain_cancelled_ = true;
}
void Device::drop_overlay() {
  core_->drop_overlay();
}
MergeProgress Device::merge_progress() const {
  return {(core_->overlay_total_ - core_->overlay_left_) << core_->cluster_shift_,
          core_->overlay_total_ << core_->cluster_shift_};
}

bool Device::begin(Maintenance what) {
  // A live merge that failed half-way has to be finished before anything else.
  if (maintenance_ != Maintenance::None || (merging() && what != Maintenance::Merge)) return false;
  maintenance_ = what;
  return true;
}

Status Device::close() {
  return core_->close();
}
std::uint64_t Device::size_bytes() const {
  return core_->size_bytes_;
}
std::uint64_t Device::cluster_bytes() const {
  return core_->cluster_bytes_;
}
std::size_t Device::levels() const {
  return core_->deltas_.size();
}
const image::Delta& Device::delta(std::size_t level) const {
  return core_->deltas_[level];
}
bool Device::merging() const {
  return core_->has_overlay();
}
bool Device::writable() const {
  return core_->config_.writable;
}
bool Device::failed() const {
  return core_->failed_;
}
bool Device::paused_for_space() const {
  return core_->paused_ > 0;
}
const Stats& Device::stats() const {
  return *stats_;
}
void Device::cancel_compact() {
  core_->compact_cancelled_ = true;
}
CompactProgress Device::compact_progress() const {
  return core_->compact_progress_;
}

Device::Run Device::first_run_in_top(std::uint64_t offset, std::uint64_t length, std::uint64_t most) const {
  const Core& core = *core_;
  if (core.gone_ || offset >= core.size_bytes_) return {};
  const std::uint64_t stop = offset + std::min(length, core.size_bytes_ - offset);
  const std::uint64_t end = stop >> core.cluster_shift_;
  std::uint64_t first = div_up(offset, core.cluster_bytes_);
  while (first < end && !core.is_top(core.map_.get(first)))
    ++first;
  std::uint64_t last = first;
  const std::uint64_t limit = std::max<std::uint64_t>(1, most >> core.cluster_shift_);
  while (last < end && last - first < limit && core.is_top(core.map_.get(last)))
    ++last;
  return {first << core.cluster_shift_, last > first ? (last - first) << core.cluster_shift_ : 0};
}

void Device::stop_waiting_for_space(bool stop) {
  core_->stop_waiting_ = stop;
}

}  // namespace ploop::engine
