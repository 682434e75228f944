// Look-up, the fast path, and the life of a request.

#include "engine/core.hpp"

#include <cerrno>

namespace ploop::engine {

namespace {

/// Buffers of the ring are a matter for the kernel's threads where the file is one that we otherwise serve in
/// place. Copying is cheaper than handing over, up to about this size.
constexpr std::uint64_t kWorthHandingOver = 64 * 1024;

bool better_copied(const Request& r, const io::BlockFile& file) {
  return r.in_buffer() && file.immediate() && r.length < kWorthHandingOver;
}

}  // namespace

FramePool& frame_pool(Core& core) {
  return core.frames;
}

bool ExecuteAwaiter::await_suspend(std::coroutine_handle<> h) {
  waiting = h;
  return !core->start(*this);
}

Core::Core(io::Ring& ring, DeviceConfig&& config, Stats& counters)
    : stats(counters), ring_(&ring), config_(std::move(config)) {
  deltas_ = std::move(config_.deltas);
  timer_.core = this;
  timer_.finished = &Core::timer_fired;
}

Core::~Core() {
  if (timer_.armed) ring_->cancel_timeout(&timer_);
}

bool Core::sabotaged([[maybe_unused]] Sabotage s) const {
#ifdef PLOOP_SABOTAGE
  return config_.sabotage == s;
#else
  return false;
#endif
}

void Core::fail_device() {
  failed_ = true;
  map_.set_failed();
}

/// Refuses what no device can do. Sets *error and gives false.
bool Core::check(const Request& r, int* error) const {
  *error = gone_ ? -EIO : 0;
  if (gone_ || r.op == Request::Op::Flush) return !gone_;
  if (r.offset % kSectorSize != 0 || r.length % kSectorSize != 0) *error = -EINVAL;
  if (r.offset > size_bytes_ || r.length > size_bytes_ - r.offset) *error = -EINVAL;
  if (*error == 0 && r.op != Request::Op::Read) {
    if (!config_.writable) *error = -EROFS;
    if (failed_) *error = -EIO;
  }
  return *error == 0;
}

Extent Core::extent_of(Entry e, std::uint64_t offset_in_cluster, std::uint64_t length) const {
  const bool raw = base_is_raw_ && e.level() == 0;
  return {files_[e.level()], (std::uint64_t{e.cluster()} << cluster_shift_) + offset_in_cluster, length, raw};
}

/// The one piece of file that holds the whole range, if there is one and no slow step is needed.
bool Core::find_extent(std::uint64_t offset, std::uint64_t length, bool for_write, Extent* out) const {
  const std::uint64_t first = offset >> cluster_shift_;
  const std::uint64_t last = (offset + length - 1) >> cluster_shift_;
  if (for_write && is_moving(first, last)) return false;
  const Entry e = map_.get(first);
  if (!e.mapped() || e.partial() || (for_write && e.level() != top_level_)) return false;
  for (std::uint64_t n = first + 1; n <= last; ++n) {
    const Entry next = map_.get(n);
    if (!next.mapped() || next.partial() || next.level() != e.level() ||
        next.cluster() != e.cluster() + (n - first)) {
      return false;
    }
  }
  *out = extent_of(e, offset & (cluster_bytes_ - 1), length);
  return true;
}

void Core::enter_phase(ExecuteAwaiter& a) {
  a.phase = phase_;
  ++in_phase_[phase_];
}

void Core::leave_phase(ExecuteAwaiter& a) {
  if (--in_phase_[a.phase] == 0 && a.phase != phase_) phase_drained_.wake_all(*ring_);
}

/// In the statistics. A request with a buffer counts when it was done that way, else when it comes back with
/// memory.
void Core::count(const Request& r) {
  switch (r.op) {
    case Request::Op::Read:
      stats.reads.add();
      stats.read_bytes.add(r.length);
      break;
    case Request::Op::Write:
      stats.writes.add();
      stats.write_bytes.add(r.length);
      break;
    case Request::Op::WriteZeroes:
      stats.zeroings.add();
      stats.zeroed_bytes.add(r.length);
      break;
    case Request::Op::Flush:
      stats.flushes.add();
      break;
  }
}

bool Core::start(ExecuteAwaiter& a) {
  if (held_) {
    (held_last_ != nullptr ? held_last_->next_held : held_first_) = &a;
    held_last_ = &a;
    return false;
  }
  int error = 0;
  if (!check(a.request, &error)) {
    stats.errors.add();
    a.result = error;
    return true;
  }
  if (a.request.op != Request::Op::Flush && a.request.length == 0) {
    a.result = 0;
    return true;
  }
  if (!a.request.in_buffer()) count(a.request);
  a.starting = true;
  a.done = false;
  ++active_;
  if (!start_fast(a)) {
    if (a.request.in_buffer()) {
      finish(a, kNeedsMemory);
    } else {
      run(*this, &a);
    }
  }
  a.starting = false;
  return a.done;
}

/// One look-up, one submission. False: the request needs the slow path.
bool Core::start_fast(ExecuteAwaiter& a) {
  const Request& r = a.request;
  if (r.op != Request::Op::Read && r.op != Request::Op::Write) return false;
  const bool write = r.op == Request::Op::Write;
  Extent extent{};
  if (!find_extent(r.offset, r.length, write, &extent)) return false;
  if ((write && r.fua) || better_copied(r, *extent.file)) return false;
  enter_phase(a);
  if (write) {
    a.file_offset = extent.offset;
    top_write_begins();
  }
  a.finished = &Core::fast_finished;
  const io::Op op{write ? io::OpKind::Write : io::OpKind::Read,
                  extent.file,
                  nullptr,
                  r.data,
                  extent.offset,
                  r.length,
                  0,
                  r.buffer};
  if (!ring_->submit(op, &a)) return true;
  if (complete_fast(a)) a.done = true;
  return true;
}

/// The file operation of a fast request is over. False: it goes on in the slow path.
bool Core::complete_fast(ExecuteAwaiter& a) {
  leave_phase(a);
  const bool write = a.request.op == Request::Op::Write;
  if (write) {
    note_data_changed();
    top_write_ended(a.file_offset, a.request.length);
  }
  const bool short_read = !write && a.result >= 0 && static_cast<std::uint64_t>(a.result) != a.request.length;
  if (a.request.in_buffer()) {
    // Whatever went wrong, with memory it goes its usual way; a buffer that was filled in part must not be an
    // answer.
    const bool worked = a.result >= 0 && !short_read;
    if (worked) count(a.request);
    a.result = worked ? 0 : kNeedsMemory;
    request_ended();
    return true;
  }
  if (short_read || io::is_no_space(a.result)) {
    run(*this, &a);  // the slow path knows about file ends and full file systems
    return a.done;
  }
  if (a.result < 0) stats.errors.add();
  a.result = a.result < 0 ? a.result : 0;
  request_ended();
  return true;
}

void Core::fast_finished(io::Completion* c) {
  auto& a = *static_cast<ExecuteAwaiter*>(c);
  a.starting = true;
  const bool over = a.core->complete_fast(a);
  a.starting = false;
  if (over) a.waiting.resume();
}

/// The end of a slow request: result to the tag, which goes on at once unless it is still inside start().
void Core::finish(ExecuteAwaiter& a, int result) {
  if (result < 0) stats.errors.add();
  request_ended();
  a.result = result;
  a.done = true;
  if (!a.starting) a.waiting.resume();
}

Detached Core::run(Core& self, ExecuteAwaiter* a) {
  const Request& r = a->request;
  int result = 0;
  for (;;) {
    self.enter_phase(*a);
    switch (r.op) {
      case Request::Op::Read:
        result = co_await read(self, &r);
        break;
      case Request::Op::Write:
      case Request::Op::WriteZeroes:
        result = co_await write(self, &r);
        break;
      case Request::Op::Flush:
        break;
    }
    self.leave_phase(*a);
    if (result == kMoving) {
      co_await self.move_ended_.wait();
      continue;
    }
    if (!self.can_wait(result)) break;
    result = co_await wait_for_space(self);
    if (result != 0) break;
  }
  if (result == 0 && (r.fua || r.op == Request::Op::Flush)) result = co_await flush(self);
  self.finish(*a, result);
}

/// Who ran out of space on the host is to wait for some, and not to fail.
bool Core::can_wait(int result) const {
  return io::is_no_space(result) && config_.on_no_space == OnNoSpace::Pause && !stop_waiting_;
}

/// The host file system is full. Freed clusters that only wait for a commit may help; otherwise somebody has
/// to make room.
Task<int> Core::wait_for_space(Core& self) {
  int result = 0;
  if (self.needs_commit()) {
    result = co_await flush(self);
    if (!self.failed_) result = 0;  // a cluster that can't be completed is another's
  }
  if (result == 0) result = co_await pause_for_space(self);
  if (result == 0 && self.stop_waiting_) result = -ENOSPC;
  co_return result;
}

/// A second in which somebody may make room.
Task<int> Core::pause_for_space(Core& self) {
  ++self.paused_;
  if (self.held_) self.quiet_.wake_all(*self.ring_);
  co_await io::TimeoutAwaiter(*self.ring_, 1'000'000'000);
  --self.paused_;
  co_return 0;
}

}  // namespace ploop::engine
