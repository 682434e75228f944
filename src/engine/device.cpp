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

/// The allocator keeps a few bits for every cluster of the file. A table that points this far into a sparse file is not
/// the work of any known writer, and must not cost hundreds of megabytes.
constexpr std::uint64_t kMaxTrackedClusters = std::uint64_t{1} << 27;

MapGeometry geometry_of(std::span<const image::Delta> deltas) {
  const image::Delta& top = deltas.back();
  return {div_up(top.size_sectors() * kSectorSize, top.cluster_bytes()), top.cluster_bytes(),
          static_cast<std::uint32_t>(deltas.size())};
}

}  // namespace

/// Lets the stack's own rules decide whether the deltas belong together.
Status Core::check_stack() {
  image::Stack stack = TRY(image::Stack::make(std::move(deltas_)));
  size_bytes_ = stack.size_bytes();
  deltas_ = std::move(stack).release();
  for (image::Delta& delta : deltas_) files_.push_back(&delta.file());
  const image::Delta& top = deltas_.back();
  top_ = files_.back();
  top_level_ = static_cast<std::uint16_t>(deltas_.size() - 1);
  top_is_raw_ = top.kind() == image::Kind::Raw;
  base_is_raw_ = deltas_.front().kind() == image::Kind::Raw;
  header_ = top.header();
  cluster_bytes_ = top.cluster_bytes();
  cluster_shift_ = static_cast<unsigned>(std::countr_zero(cluster_bytes_));
  cluster_count_ = div_up(size_bytes_, cluster_bytes_);
  can_clone_ = config_.allow_clone && deltas_.size() > 1;
  if (config_.writable && size_bytes_ % cluster_bytes_ != 0 && !top_is_raw_) {
    return fail(ExitCode::Format, top_->name() + ": the size is not a multiple of the cluster size; it can be attached read-only");
  }
  if (config_.writable && deltas_.back().end_cluster() > kMaxTrackedClusters) {
    return fail(ExitCode::Format, top_->name() + ": its clusters are scattered over too long a file; it can be attached read-only");
  }
  return {};
}

/// The in-use mark before anything else changes; then space for the table, so that a commit can't run out of it, and a file
/// that ends at a cluster boundary.
Status Core::prepare_top() {
  if (!config_.writable || top_is_raw_) return {};
  TRY(image::mark_in_use(*top_, header_));
  const int reserved = top_->allocate(0, std::uint64_t{header_.first_block_sectors} * kSectorSize);
  if (reserved < 0 && reserved != -EOPNOTSUPP) {
    return fail(errno_error(ExitCode::Fallocate, -reserved, "reserve the cluster table of " + top_->name()));
  }
  const std::uint64_t length = TRY(io::file_size(*top_));
  if (length % cluster_bytes_ != 0) {
    const int cut = top_->truncate(round_down(length, cluster_bytes_));
    if (cut < 0) return fail(errno_error(ExitCode::Truncate, -cut, "cut the partial last cluster of " + top_->name()));
  }
  return {};
}

/// Resolves the chain: later levels win and remember that something is below.
void Core::fill_map() {
  for (std::size_t level = 0; level < deltas_.size(); ++level) {
    const image::Delta& delta = deltas_[level];
    const auto number = static_cast<std::uint16_t>(level);
    if (delta.kind() == image::Kind::Raw) {
      const std::uint64_t count = top_is_raw_ ? cluster_count_ : std::min(delta.raw_clusters(), cluster_count_);
      for (std::uint64_t n = 0; n < count; ++n) map_.set(n, Entry::at(number, static_cast<std::uint32_t>(n)));
      continue;
    }
    const std::span<const std::uint32_t> table = delta.table();
    const std::uint64_t count = std::min<std::uint64_t>(table.size(), cluster_count_);
    for (std::uint64_t n = 0; n < count; ++n) {
      if (table[n] != 0) map_.set(n, Entry::at(number, table[n]).with_below(map_.get(n).mapped()));
    }
  }
}

Status Core::adopt_map() {
  std::vector<std::uint64_t> file_clusters;
  for (const image::Delta& delta : deltas_) {
    const bool raw = delta.kind() == image::Kind::Raw;
    file_clusters.push_back(raw ? cluster_count_ : div_up(delta.file_bytes(), cluster_bytes_));
  }
  map_ = TRY(ClusterMap::adopt(config_.map_memory, geometry_of(deltas_), file_clusters));
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
  return {};
}

Status Core::build_map() {
  if (config_.adopt_map) {
    TRY(adopt_map());
    // What the predecessor wrote may not have passed a barrier; with one now, the table on disk is the durable one.
    if (config_.writable) TRY(io::sync_file(*top_));
  } else {
    map_ = TRY(ClusterMap::create(config_.map_memory, geometry_of(deltas_)));
    fill_map();
  }
  partials_.resize(map_.geometry().partial_records());
  return {};
}

void Core::build_allocator() {
  const std::uint64_t entries = header_.table_entries;
  const std::span<const std::uint32_t> table = deltas_.back().table();
  durable_.assign(table.begin(), table.end());
  table_pages_ = format::table_pages(header_.table_entries);
  dirty_pages_.resize(table_pages_);

  // Every guest cluster once, and once more for clusters on their way back. A file may be far longer; what is behind is
  // not needed, and goes when the image is closed.
  std::uint64_t limit = std::max(deltas_.back().end_cluster(), header_.header_clusters() + 2 * entries + 64);
  for (std::uint64_t n = 0; n < cluster_count_; ++n) {
    const Entry e = map_.get(n);  // a predecessor's map may reach farther than the table on disk
    if (is_top(e)) limit = std::max<std::uint64_t>(limit, std::uint64_t{e.cluster()} + 1);
  }
  allocator_.reset(header_.header_clusters(), std::min(deltas_.back().file_bytes() >> cluster_shift_, limit), limit);
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
    zeros_ = AlignedBuffer(kCopyBytes);
    if (!top_is_raw_) {
      for (Copy& copy : copies_) copy.buffer = AlignedBuffer(kCopyBytes);
      round_.images = AlignedBuffer(kMaxPagesPerCommit * format::kTablePageSize);
      claims_.reserve(128);
      build_allocator();
    }
  }
  for (image::Delta& delta : deltas_) delta.drop_table();
  return {};
}

/// Everything durable, every freed cluster back.
Detached Core::finish_work(Core& self, int* result, bool* done) {
  *result = co_await flush(self);
  while (self.reclaim_running_) co_await self.reclaimed_.wait();
  if (*result == 0) *result = co_await flush(self);
  *done = true;
}

Status Core::close() {
  stop_waiting_ = true;
  if (!config_.writable) return {};
  int result = 0;
  bool done = false;
  finish_work(*this, &result, &done);
  while (!done) ring_->run_once(true);
  if (timer_.armed) ring_->cancel_timeout(&timer_);
  timer_.armed = false;
  if (result < 0) return fail(errno_error(ExitCode::Write, -result, "write the cluster table of " + top_->name()));
  if (top_is_raw_) return {};
  return image::close_image(*top_, header_, allocator_.used_end());
}

std::uint64_t Device::map_bytes(std::span<const image::Delta> deltas) { return geometry_of(deltas).map_bytes(); }

Device::Device(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Device::~Device() = default;

Result<std::unique_ptr<Device>> Device::open(io::Ring& ring, DeviceConfig config) {
  auto core = std::make_unique<Core>(ring, std::move(config));
  TRY(core->open());
  return std::unique_ptr<Device>(new Device(std::move(core)));
}

Status Device::close() { return core_->close(); }
std::uint64_t Device::size_bytes() const { return core_->size_bytes_; }
std::uint64_t Device::cluster_bytes() const { return core_->cluster_bytes_; }
std::size_t Device::levels() const { return core_->deltas_.size(); }
bool Device::writable() const { return core_->config_.writable; }
bool Device::failed() const { return core_->failed_; }
bool Device::paused_for_space() const { return core_->paused_ > 0; }
const Stats& Device::stats() const { return core_->stats; }
void Device::stop_waiting_for_space() { core_->stop_waiting_ = true; }

}  // namespace ploop::engine
