// The device's side of the write tracker: how far the top's file reaches, and switching.

#include <cerrno>
#include <string>

#include "engine/core.hpp"

namespace ploop::engine {

/// Length of the top's file as far as it is the device's.
Result<std::uint64_t> Core::top_file_bytes() const {
  if (gone_) return fail(errno_error(ExitCode::Stat, EIO, "The device has lost its images"));
  if (!top_is_raw_ && config_.writable) return allocator_.file_clusters() << cluster_shift_;
  const std::int64_t size = top_->size();
  if (size < 0)
    return fail(errno_error(ExitCode::Stat, static_cast<int>(-size), "length of " + top_->name()));
  return static_cast<std::uint64_t>(size);
}

Result<std::uint64_t> Core::top_used_bytes() const {
  if (gone_) return fail(errno_error(ExitCode::Stat, EIO, "The device has lost its images"));
  if (top_is_raw_ || !config_.writable) return top_file_bytes();
  return allocator_.used_end() << cluster_shift_;
}

Status Device::track_start() {
  const Core& core = *core_;
  std::uint64_t limit = TRY(core.top_file_bytes());
  // A raw top grows to the size of the device at most, any other as far as its allocator goes.
  if (core.config_.writable) {
    limit = std::max(limit, core.top_is_raw_ ? core.cluster_count_ << core.cluster_shift_
                                             : core.allocator_.limit() << core.cluster_shift_);
  }
  // During a merge of the top two files change.
  if (core.has_overlay() || core.compacting_) {
    return fail(ExitCode::Busy, core.compacting_ ? "The device is busy with another operation (RELOC)"
                                                 : "A merge of the top is not finished; run it again");
  }
  if (!begin(Maintenance::Track)) {
    return fail(ExitCode::Busy, "The device is busy with another operation (" +
                                    std::string(maintenance_name(maintenance_)) + ")");
  }
  Status started = core_->tracker_.start(limit);
  if (!started) end();
  return started;
}

Result<std::uint64_t> Device::top_used_bytes() const {
  return core_->top_used_bytes();
}

Status Device::track_set(std::uint64_t position) {
  return core_->tracker_.set_position(position);
}

Result<Tracker::Batch> Device::track_read(std::span<FileExtent> out) {
  if (!core_->tracker_.active()) return fail(ExitCode::Param, "Writes are not being tracked");
  const std::uint64_t used = TRY(core_->top_used_bytes());
  const std::uint64_t length = TRY(core_->top_file_bytes());
  return core_->tracker_.read(out, used, length);
}

Status Device::track_stop() {
  const std::uint64_t used = TRY(core_->top_used_bytes());
  TRY(core_->tracker_.stop(used, core_->top_writes_ > 0));
  end();
  return {};
}

void Device::track_abort() {
  core_->tracker_.abort();
  if (maintenance_ == Maintenance::Track) end();
}
const Tracker& Device::tracker() const {
  return core_->tracker_;
}
const io::BlockFile* Device::top_file() const {
  return core_->top_;
}

}  // namespace ploop::engine
