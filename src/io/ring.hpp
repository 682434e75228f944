// Asynchronous file operations for one thread. The engine and the transports are written against this
// interface; UringRing runs it on io_uring, SimRing (tests) completes operations in a seeded random order and
// can stop anywhere.
//
// An operation is described by an Op, started with submit() and finished by calling its Completion, always
// from the thread that runs the ring. Coroutines use the awaiters at the end of this file:
//
//     const int done = co_await io::read(ring, file, data, offset);
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "io/block_file.hpp"

namespace ploop::io {

enum class OpKind : std::uint8_t { Read, Write, Sync, Allocate, Punch, Clone, Truncate };

/// Not a buffer of the ring: the data is in memory.
inline constexpr int kNoBuffer = -1;

struct Op {
  OpKind kind = OpKind::Read;
  BlockFile* file = nullptr;
  BlockFile* source = nullptr;  ///< Clone only
  std::byte* data =
      nullptr;  ///< Read, Write; stays valid until completion. Of a buffer: its address, null for a driver's
  std::uint64_t offset = 0;         ///< bytes
  std::uint64_t length = 0;         ///< bytes; the new size for Truncate
  std::uint64_t source_offset = 0;  ///< Clone only
  int buffer = kNoBuffer;  ///< Read, Write: from the start of this registered buffer of the ring, which may
                           ///< not be memory
};

/// Does an operation at once, on the calling thread: what a ring does with those that it can't or need not do
/// asynchronously. Bytes or -errno. Not for registered buffers.
int run_in_place(const Op& op);

/// Where a result goes. Lives in the waiting coroutine's frame (or in an object that outlives the operation).
struct Completion {
  int result = 0;                           ///< bytes or -errno
  void (*finished)(Completion*) = nullptr;  ///< called once, on the ring's thread
};

class Ring {
 public:
  virtual ~Ring() = default;
  /// Starts an operation. True: it is already done, `done->result` is set and `finished` will not be called.
  /// False: `finished` is called later from run_once(). Short reads and writes are continued inside; a read
  /// result below op.length means end of file.
  virtual bool submit(const Op& op, Completion* done) = 0;
  /// Calls `done` after at least this many nanoseconds.
  virtual void submit_timeout(std::uint64_t nanoseconds, Completion* done) = 0;
  /// Forgets a timeout that has not fired; afterwards `done` will not be called.
  virtual void cancel_timeout(Completion* done) = 0;
  /// Calls `done` from the next run_once(). For waking a coroutine without growing the stack.
  virtual void post(Completion* done) = 0;
  /// Delivers at least one completion, waiting when `wait` and none is there. False: nothing was delivered.
  virtual bool run_once(bool wait) = 0;
};

/// Base of awaiters: resumes the waiting coroutine. Trivially destructible, because GCC 12 destroys
/// temporaries with non-trivial members inside co_await expressions twice.
struct ResumeOnCompletion : Completion {
  std::coroutine_handle<> waiting;
  static void resume(Completion* c) { static_cast<ResumeOnCompletion*>(c)->waiting.resume(); }
};

/// `co_await` runs one operation and gives its result.
struct OpAwaiter : ResumeOnCompletion {
  OpAwaiter(Ring& r, const Op& o) : ring(&r), op(o) { finished = &resume; }
  Ring* ring;
  Op op;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h) {
    waiting = h;
    return !ring->submit(op, this);
  }
  [[nodiscard]] int await_resume() const noexcept { return result; }
};
static_assert(std::is_trivially_destructible_v<OpAwaiter>);

/// `co_await` waits for a time.
struct TimeoutAwaiter : ResumeOnCompletion {
  TimeoutAwaiter(Ring& r, std::uint64_t ns) : ring(&r), nanoseconds(ns) { finished = &resume; }
  Ring* ring;
  std::uint64_t nanoseconds;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    waiting = h;
    ring->submit_timeout(nanoseconds, this);
  }
  void await_resume() const noexcept {}
};

inline OpAwaiter read(Ring& ring, BlockFile& file, std::span<std::byte> data, std::uint64_t offset) {
  return {ring, Op{OpKind::Read, &file, nullptr, data.data(), offset, data.size(), 0}};
}
inline OpAwaiter write(Ring& ring, BlockFile& file, std::span<std::byte> data, std::uint64_t offset) {
  return {ring, Op{OpKind::Write, &file, nullptr, data.data(), offset, data.size(), 0}};
}
inline OpAwaiter sync(Ring& ring, BlockFile& file) {
  return {ring, Op{OpKind::Sync, &file, nullptr, nullptr, 0, 0, 0}};
}
inline OpAwaiter allocate(Ring& ring, BlockFile& file, std::uint64_t offset, std::uint64_t length) {
  return {ring, Op{OpKind::Allocate, &file, nullptr, nullptr, offset, length, 0}};
}
inline OpAwaiter punch(Ring& ring, BlockFile& file, std::uint64_t offset, std::uint64_t length) {
  return {ring, Op{OpKind::Punch, &file, nullptr, nullptr, offset, length, 0}};
}
inline OpAwaiter clone(Ring& ring, BlockFile& source, std::uint64_t source_offset, BlockFile& file,
                       std::uint64_t offset, std::uint64_t length) {
  return {ring, Op{OpKind::Clone, &file, &source, nullptr, offset, length, source_offset}};
}
inline OpAwaiter truncate(Ring& ring, BlockFile& file, std::uint64_t size) {
  return {ring, Op{OpKind::Truncate, &file, nullptr, nullptr, 0, size, 0}};
}

}  // namespace ploop::io
