#include "io/uring_ring.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

namespace ploop::io {

/// One operation in flight; lives in a pool.
struct UringRing::Pending {
  Op op;
  Completion* done = nullptr;
  std::uint64_t moved = 0;     // bytes of a read or write already done
  enum class Shape : std::uint8_t { File, Poll, PlainRead } shape = Shape::File;
  int fd = -1;
  unsigned events = 0;
  Pending* next = nullptr;
};

namespace {

constexpr std::size_t kPendingBlock = 256;

std::uint64_t now_ns() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(ts.tv_nsec);
}

int run_in_place(const Op& op) {
  switch (op.kind) {
    case OpKind::Read: return static_cast<int>(op.file->read({op.data, op.length}, op.offset));
    case OpKind::Write: return static_cast<int>(op.file->write({op.data, op.length}, op.offset));
    case OpKind::Sync: return op.file->sync();
    case OpKind::Allocate: return op.file->allocate(op.offset, op.length);
    case OpKind::Punch: return op.file->punch(op.offset, op.length);
    case OpKind::Clone: return op.file->clone(*op.source, op.source_offset, op.offset, op.length);
    case OpKind::Truncate: return op.file->truncate(op.length);
  }
  return -EINVAL;
}

}  // namespace

Result<std::unique_ptr<UringRing>> UringRing::create(unsigned depth) {
  std::unique_ptr<UringRing> ring(new UringRing);
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
  int err = io_uring_queue_init_params(depth, &ring->ring_, &params);
  if (err == -EINVAL) {  // before 6.1
    params = {};
    err = io_uring_queue_init_params(depth, &ring->ring_, &params);
  }
  if (err < 0) return fail(errno_error(ExitCode::System, -err, "set up io_uring"));
  ring->initialised_ = true;
  io_uring_register_ring_fd(&ring->ring_);
  ring->posted_.reserve(kPendingBlock);
  ring->delivering_.reserve(kPendingBlock);
  ring->timers_.reserve(16);
  ring->free_ = ring->take_pending();
  return ring;
}

UringRing::~UringRing() {
  if (initialised_) io_uring_queue_exit(&ring_);
}

UringRing::Pending* UringRing::take_pending() {
  if (free_ == nullptr) {
    blocks_.push_back(std::make_unique<Pending[]>(kPendingBlock));
    for (std::size_t i = 0; i < kPendingBlock; ++i) {
      blocks_.back()[i].next = free_;
      free_ = &blocks_.back()[i];
    }
  }
  Pending* p = free_;
  free_ = p->next;
  p->moved = 0;
  p->next = nullptr;
  return p;
}

io_uring_sqe* UringRing::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

void UringRing::start(Pending* p) {
  io_uring_sqe* sqe = next_sqe();
  if (p->shape == Pending::Shape::Poll) {
    io_uring_prep_poll_add(sqe, p->fd, p->events);
  } else if (p->shape == Pending::Shape::PlainRead) {
    io_uring_prep_read(sqe, p->fd, p->op.data, static_cast<unsigned>(p->op.length), 0);
  } else {
    const int fd = p->op.file->native_handle();
    const auto left = static_cast<unsigned>(p->op.length - p->moved);
    switch (p->op.kind) {
      case OpKind::Read: io_uring_prep_read(sqe, fd, p->op.data + p->moved, left, p->op.offset + p->moved); break;
      case OpKind::Write: io_uring_prep_write(sqe, fd, p->op.data + p->moved, left, p->op.offset + p->moved); break;
      case OpKind::Sync: io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC); break;
      case OpKind::Allocate:
        io_uring_prep_fallocate(sqe, fd, 0, static_cast<off_t>(p->op.offset), static_cast<off_t>(p->op.length));
        break;
      default:
        io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(p->op.offset),
                                static_cast<off_t>(p->op.length));
    }
  }
  io_uring_sqe_set_data(sqe, p);
}

bool UringRing::submit(const Op& op, Completion* done) {
  // Clone and truncate have no ring operation; both are metadata only.
  if (op.file->immediate() || op.kind == OpKind::Clone || op.kind == OpKind::Truncate) {
    done->result = run_in_place(op);
    return true;
  }
  Pending* p = take_pending();
  p->op = op;
  p->done = done;
  p->shape = Pending::Shape::File;
  start(p);
  return false;
}

void UringRing::submit_poll(int fd, unsigned events, Completion* done) {
  Pending* p = take_pending();
  p->shape = Pending::Shape::Poll;
  p->fd = fd;
  p->events = events;
  p->done = done;
  start(p);
}

void UringRing::submit_read(int fd, std::span<std::byte> data, Completion* done) {
  Pending* p = take_pending();
  p->shape = Pending::Shape::PlainRead;
  p->fd = fd;
  p->op = Op{OpKind::Read, nullptr, nullptr, data.data(), 0, data.size(), 0};
  p->done = done;
  start(p);
}

void UringRing::submit_timeout(std::uint64_t nanoseconds, Completion* done) {
  timers_.push_back({now_ns() + nanoseconds, done});
}

void UringRing::cancel_timeout(Completion* done) {
  std::erase_if(timers_, [done](const Timer& t) { return t.done == done; });
}

void UringRing::post(Completion* done) { posted_.push_back(done); }

bool UringRing::deliver_posted() {
  if (posted_.empty()) return false;
  delivering_.swap(posted_);
  for (Completion* c : delivering_) c->finished(c);
  delivering_.clear();
  return true;
}

bool UringRing::deliver_timers() {
  if (timers_.empty()) return false;
  const std::uint64_t now = now_ns();
  bool any = false;
  for (;;) {
    const auto due = std::find_if(timers_.begin(), timers_.end(), [now](const Timer& t) { return t.deadline <= now; });
    if (due == timers_.end()) return any;
    Completion* c = due->done;
    timers_.erase(due);
    c->result = 0;
    c->finished(c);
    any = true;
  }
}

void UringRing::finish(Pending* p, int result) {
  const bool transfer = p->shape == Pending::Shape::File && (p->op.kind == OpKind::Read || p->op.kind == OpKind::Write);
  if (result == -EINTR || result == -EAGAIN) {
    start(p);
    return;
  }
  if (transfer && result > 0) {
    p->moved += static_cast<std::uint64_t>(result);
    if (p->moved < p->op.length) {  // short: continue, and let a read find the end of the file
      start(p);
      return;
    }
  }
  if (transfer && result >= 0) {
    result = p->op.kind == OpKind::Write && p->moved < p->op.length ? -EIO : static_cast<int>(p->moved);
  }
  Completion* done = p->done;
  p->next = free_;
  free_ = p;
  done->result = result;
  done->finished(done);
}

void UringRing::deliver_cqes() {
  // A completion may submit and even reap nested work, so take one at a time.
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
    auto* p = static_cast<Pending*>(io_uring_cqe_get_data(cqe));
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    finish(p, result);
  }
}

int UringRing::wait_for_completions(bool wait) {
  if (!wait) return io_uring_submit_and_get_events(&ring_);
  if (timers_.empty()) return io_uring_submit_and_wait(&ring_, 1);
  const auto first = std::min_element(timers_.begin(), timers_.end(),
                                      [](const Timer& a, const Timer& b) { return a.deadline < b.deadline; });
  const std::uint64_t now = now_ns();
  const std::uint64_t left = first->deadline > now ? first->deadline - now : 0;
  __kernel_timespec ts{};
  ts.tv_sec = static_cast<long long>(left / 1'000'000'000u);
  ts.tv_nsec = static_cast<long long>(left % 1'000'000'000u);
  io_uring_cqe* cqe = nullptr;
  return io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &ts, nullptr);
}

bool UringRing::run_once(bool wait) {
  bool any = deliver_posted();
  any = deliver_timers() || any;
  const int err = wait_for_completions(wait && !any);
  if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN && err != -EBUSY) return any;
  if (io_uring_cq_ready(&ring_) > 0) {
    deliver_cqes();
    any = true;
  }
  any = deliver_timers() || any;
  return deliver_posted() || any;
}

}  // namespace ploop::io
