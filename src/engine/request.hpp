// What a transport asks of the device, and the awaiter that carries it.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "io/ring.hpp"

namespace ploop::engine {

class Core;

/// Answer to a request whose data is in a buffer of the ring, where that can't be done without seeing the
/// data, or did not work. The request has had no effect but, of a write, perhaps on the range that it writes:
/// it is to be executed again, with memory.
inline constexpr int kNeedsMemory = 1;

struct Request {
  enum class Op : std::uint8_t { Read, Write, Flush, WriteZeroes };
  Op op = Op::Read;
  bool fua = false;            ///< Write, WriteZeroes: durable before the answer
  bool unmap = false;          ///< WriteZeroes: space may be freed; the range reads as zeros either way
  std::uint64_t offset = 0;    ///< bytes, a multiple of 512
  std::uint64_t length = 0;    ///< bytes, a multiple of 512
  std::byte* data = nullptr;   ///< Read, Write
  int buffer = io::kNoBuffer;  ///< Read, Write: the data is in this registered buffer of the ring, from its
                               ///< start, not at `data`
  [[nodiscard]] bool in_buffer() const { return buffer != io::kNoBuffer; }
};

/// Result of `co_await device.execute(request)`: 0, -errno or kNeedsMemory. Lives in the tag's coroutine
/// frame.
struct ExecuteAwaiter : io::ResumeOnCompletion {
  ExecuteAwaiter(Core& c, const Request& r) : core(&c), request(r) {}
  Core* core;
  Request request;
  std::uint64_t file_offset = 0;  ///< of a fast write, in the top's file
  std::uint8_t phase = 0;         ///< grace-period side the request counts on; see Core
  bool starting = false;          ///< inside await_suspend: finishing now must not resume
  bool done = false;
  ExecuteAwaiter* next_held = nullptr;  ///< in the queue of requests that came while the device was held

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h);
  [[nodiscard]] int await_resume() const noexcept { return result; }
};
static_assert(std::is_trivially_destructible_v<ExecuteAwaiter>);

}  // namespace ploop::engine
