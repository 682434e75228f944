// Standing still: new requests wait in a queue, the running ones end, everything becomes durable. Then the
// files may be changed or exchanged, and release() lets the queue in.

#include <cerrno>

#include "engine/core.hpp"

namespace ploop::engine {

/// A request was admitted and has its result.
void Core::request_ended() {
  if (--active_ == 0 && held_) quiet_.wake_all(*ring_);
}

/// The files go elsewhere. Until another core takes over, and if none does for good, this one has nothing to
/// work on.
void Core::give_up() {
  gone_ = true;
  failed_ = true;
  top_ = nullptr;
}

/// 0: nothing is in flight, the tables on disk say what the map says, and a successor would build its map
/// from them. Else an error, and the device goes on as before: -ENOSPC when requests wait for space on the
/// host, -EIO after a failure.
Task<int> Core::hold(Core& self) {
  if (self.gone_) co_return -EIO;
  self.held_ = true;
  int result = 0;
  while (self.active_ > 0 && result == 0) {
    if (self.paused_ > 0) result = -ENOSPC;
    if (result == 0) co_await self.quiet_.wait();
  }
  // Twice: what the first flush freed is on its way back meanwhile and may touch the files.
  for (int i = 0; i < 2 && result == 0; ++i) {
    result = co_await flush(self);
    while (self.committing_)
      co_await self.committed_.wait();
    while (self.reclaim_running_)
      co_await self.reclaimed_.wait();
  }
  if (result == 0 && (self.failed_ || (self.config_.writable && self.needs_commit()))) result = -EIO;
  if (result < 0) {
    self.release();
    co_return result;
  }
  if (self.timer_.armed) self.ring_->cancel_timeout(&self.timer_);
  self.timer_.armed = false;
  self.map_.abandon();
  co_return 0;
}

/// Goes on. The requests of the queue are resumed from here.
void Core::release() {
  if (!gone_) map_.finish();
  held_ = false;
  ExecuteAwaiter* a = held_first_;
  held_first_ = nullptr;
  held_last_ = nullptr;
  while (a != nullptr) {
    ExecuteAwaiter* next = a->next_held;
    a->next_held = nullptr;
    if (start(*a)) a->waiting.resume();
    a = next;
  }
}

/// This core continues for `from`, which stands still and is given up.
void Core::take_held_requests(Core& from) {
  held_ = true;
  held_first_ = from.held_first_;
  held_last_ = from.held_last_;
  for (ExecuteAwaiter* a = held_first_; a != nullptr; a = a->next_held)
    a->core = this;
  from.held_first_ = nullptr;
  from.held_last_ = nullptr;
}

}  // namespace ploop::engine
