// Coroutines of the engine. Both kinds take their frame from the pool of the Core they get as first
// parameter, and destroy it themselves at the end, so that every object here is trivially destructible.
//
//   Task<T>   a step that gives a value; starts when awaited, must be awaited exactly once
//   Detached  a job of its own (one request, the committer); starts at once
#pragma once

#include <coroutine>
#include <cstdlib>

#include "engine/frame_pool.hpp"
#include "io/ring.hpp"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 without optimisation does not match a coroutine frame's variadic operator new with its operator
// delete. The warning comes at the end of each coroutine, hence for the rest of the file.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace ploop::engine {

class Core;
FramePool& frame_pool(Core& core);

struct PooledFrame {
  template <typename... Rest>
  static void* operator new(std::size_t size, Core& core, Rest&&...) {
    return frame_pool(core).allocate(size);
  }
  static void operator delete(void* frame) { FramePool::release(frame); }
  static void operator delete(void* frame, std::size_t) { FramePool::release(frame); }
};

template <typename T>
class [[nodiscard]] Task {
 public:
  struct promise_type : PooledFrame {
    std::coroutine_handle<> continuation;
    T* out = nullptr;
    T value{};

    struct Final {
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
        promise_type& p = h.promise();
        *p.out = p.value;
        const std::coroutine_handle<> next = p.continuation;
        h.destroy();
        return next;
      }
      void await_resume() const noexcept {}
    };
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    Final final_suspend() noexcept { return {}; }
    void return_value(T v) { value = v; }
    [[noreturn]] void unhandled_exception() { std::abort(); }
  };

  struct Awaiter {
    std::coroutine_handle<promise_type> handle;
    T result{};
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) {
      handle.promise().continuation = waiting;
      handle.promise().out = &result;
      return handle;
    }
    [[nodiscard]] T await_resume() const noexcept { return result; }
  };
  Awaiter operator co_await() const { return Awaiter{handle_}; }

 private:
  explicit Task(std::coroutine_handle<promise_type> h) : handle_(h) {}
  std::coroutine_handle<promise_type> handle_;
};

struct Detached {
  struct promise_type : PooledFrame {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() { std::abort(); }
  };
};

/// Coroutines waiting for a condition. Woken ones are resumed from the ring, never from inside wake_all(),
/// and must look at the condition again.
class WaitList {
 public:
  struct Awaiter : io::ResumeOnCompletion {
    explicit Awaiter(WaitList& l) : list(&l) { finished = &resume; }
    WaitList* list;
    Awaiter* next = nullptr;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      waiting = h;
      next = list->first_;
      list->first_ = this;
    }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] Awaiter wait() { return Awaiter(*this); }
  void wake_all(io::Ring& ring) {
    Awaiter* a = first_;
    first_ = nullptr;
    while (a != nullptr) {
      Awaiter* next = a->next;
      ring.post(a);
      a = next;
    }
  }

 private:
  Awaiter* first_ = nullptr;
};

}  // namespace ploop::engine
