#include "io/uring_ring.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

namespace ploop::io {

/// One operation in flight; lives in a pool.
struct UringRing::Pending {
  Op op;
  Completion* done = nullptr;
  std::uint64_t moved = 0;  // bytes of a read or write already done
  enum class Shape : std::uint8_t { File, Poll, PlainRead, Command } shape = Shape::File;
  int fd = -1;
  unsigned events = 0;
  Pending* next = nullptr;
};

namespace {

constexpr std::size_t kPendingBlock = 256;

/// Every kind that start() prepares; a restricted ring refuses others.
constexpr io_uring_op kOperations[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
                                       IORING_OP_POLL_ADD};
/// What some rings take besides.
constexpr std::size_t kMoreOperations = 3;

std::uint64_t now_ns() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(ts.tv_nsec);
}

/// The system call, because liburing 2.3 forgets to export the functions for these.
bool register_with(const io_uring& ring, unsigned what, const void* argument, std::size_t count) {
  return ::syscall(SYS_io_uring_register, ring.ring_fd, what, argument, static_cast<unsigned>(count)) >= 0;
}

bool is_transfer(OpKind kind) {
  return kind == OpKind::Read || kind == OpKind::Write;
}

/// A read or write of what is left of one. A buffer's address is a number: a driver's starts at 0.
void prepare_transfer(io_uring_sqe* sqe, const Op& op, std::uint64_t moved) {
  const bool read = op.kind == OpKind::Read;
  const bool fixed = op.buffer != kNoBuffer;
  const int memory_operation = read ? IORING_OP_READ : IORING_OP_WRITE;
  const int buffer_operation = read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
  io_uring_prep_rw(fixed ? buffer_operation : memory_operation, sqe, op.file->native_handle(), nullptr,
                   static_cast<unsigned>(op.length - moved), op.offset + moved);
  sqe->addr = reinterpret_cast<std::uintptr_t>(op.data) + moved;
  if (fixed) sqe->buf_index = static_cast<std::uint16_t>(op.buffer);
}

}  // namespace

Result<std::unique_ptr<UringRing>> UringRing::create(unsigned depth, Start start) {
  std::unique_ptr<UringRing> ring(new UringRing);
  const unsigned disabled = start == Start::Disabled ? IORING_SETUP_R_DISABLED : 0u;
  const unsigned quick = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
  int err = -EINVAL;
  // Without the quick ones before 6.1, without the disabled state before 5.10.
  for (const unsigned flags : {quick | disabled, disabled, 0u}) {
    io_uring_params params{};
    params.flags = flags;
    err = io_uring_queue_init_params(depth, &ring->ring_, &params);
    ring->disabled_ = (flags & disabled) != 0;
    if (err != -EINVAL) break;
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

Status UringRing::make_room_for_buffers(unsigned count) {
  io_uring_rsrc_register room{};
  room.nr = count;
  room.flags = IORING_RSRC_REGISTER_SPARSE;
  if (!register_with(ring_, IORING_REGISTER_BUFFERS2, &room, sizeof room)) {
    return fail_errno(ExitCode::System, "make room for registered buffers in the io_uring");
  }
  buffers_ = true;
  return {};
}

Status UringRing::restrict_operations(bool commands) {
  if (!disabled_) return fail(ExitCode::System, "the kernel can't restrict an io_uring");
  std::array<io_uring_restriction, std::size(kOperations) + kMoreOperations> allowed{};
  unsigned count = 0;
  const auto allow = [&](io_uring_op operation) {
    allowed[count].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[count++].sqe_op = static_cast<std::uint8_t>(operation);
  };
  for (const io_uring_op operation : kOperations)
    allow(operation);
  if (commands) allow(IORING_OP_URING_CMD);
  if (buffers_) {
    allow(IORING_OP_READ_FIXED);
    allow(IORING_OP_WRITE_FIXED);
  }
  // What is not named, registering included, is forbidden.
  if (!register_with(ring_, IORING_REGISTER_RESTRICTIONS, allowed.data(), count)) {
    return fail_errno(ExitCode::System, "restrict the io_uring");
  }
  return {};
}

Status UringRing::enable() {
  if (!std::exchange(disabled_, false)) return {};
  if (!register_with(ring_, IORING_REGISTER_ENABLE_RINGS, nullptr, 0))
    return fail_errno(ExitCode::System, "enable the io_uring");
  return {};
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
    switch (p->op.kind) {
      case OpKind::Read:
      case OpKind::Write:
        prepare_transfer(sqe, p->op, p->moved);
        break;
      case OpKind::Sync:
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        break;
      case OpKind::Allocate:
        io_uring_prep_fallocate(sqe, fd, 0, static_cast<off_t>(p->op.offset),
                                static_cast<off_t>(p->op.length));
        break;
      default:
        io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(p->op.offset), static_cast<off_t>(p->op.length));
    }
  }
  io_uring_sqe_set_data(sqe, p);
}

bool UringRing::submit(const Op& op, Completion* done) {
  // Clone and truncate have no ring operation; both are metadata only. Only the ring knows what is in its
  // buffers.
  const bool in_memory = op.buffer == kNoBuffer;
  if ((op.file->immediate() && in_memory) || op.kind == OpKind::Clone || op.kind == OpKind::Truncate) {
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

void UringRing::submit_command(const DeviceCommand& command, Completion* done) {
  Pending* p = take_pending();
  p->shape = Pending::Shape::Command;
  p->done = done;
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_rw(IORING_OP_URING_CMD, sqe, command.fd, nullptr, 0, 0);
  sqe->cmd_op = command.opcode;
  sqe->addr = command.address;
  // The body is the last 16 bytes of the entry; liburing declares it as an array without a length.
  static_assert(sizeof(io_uring_sqe) == 64);
  std::memcpy(reinterpret_cast<std::byte*>(sqe) + 48, command.body.data(), command.body.size());
  io_uring_sqe_set_data(sqe, p);
}

bool UringRing::push() {
  return io_uring_submit(&ring_) >= 0;
}

void UringRing::submit_timeout(std::uint64_t nanoseconds, Completion* done) {
  timers_.push_back({now_ns() + nanoseconds, done});
}

void UringRing::cancel_timeout(Completion* done) {
  std::erase_if(timers_, [done](const Timer& t) { return t.done == done; });
}

void UringRing::post(Completion* done) {
  posted_.push_back(done);
}

bool UringRing::deliver_posted() {
  if (posted_.empty()) return false;
  delivering_.swap(posted_);
  for (Completion* c : delivering_)
    c->finished(c);
  delivering_.clear();
  return true;
}

bool UringRing::deliver_timers() {
  if (timers_.empty()) return false;
  const std::uint64_t now = now_ns();
  bool any = false;
  for (;;) {
    const auto due =
        std::find_if(timers_.begin(), timers_.end(), [now](const Timer& t) { return t.deadline <= now; });
    if (due == timers_.end()) return any;
    Completion* c = due->done;
    timers_.erase(due);
    c->result = 0;
    c->finished(c);
    any = true;
  }
}

void UringRing::finish(Pending* p, int result) {
  const bool transfer = p->shape == Pending::Shape::File && is_transfer(p->op.kind);
  if ((result == -EINTR || result == -EAGAIN) && p->shape != Pending::Shape::Command) {
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
