// A ploopd whose workers crash over one request: a write at a certain place of the device. The call of both
// transports into the engine goes through here (--wrap).
#include "daemon/program.hpp"
#include "engine/request.hpp"

namespace {

constexpr std::uint64_t kPoison = 100u << 20;

}  // namespace

extern "C" {
// The names of ExecuteAwaiter::await_suspend for the linker; `this` is the first argument.
bool real_await_suspend(ploop::engine::ExecuteAwaiter* self, std::coroutine_handle<> h) asm(
    "__real__ZN5ploop6engine14ExecuteAwaiter13await_suspendENSt7__n486116coroutine_handleIvEE");
bool wrapped_await_suspend(ploop::engine::ExecuteAwaiter* self, std::coroutine_handle<> h) asm(
    "__wrap__ZN5ploop6engine14ExecuteAwaiter13await_suspendENSt7__n486116coroutine_handleIvEE");

bool wrapped_await_suspend(ploop::engine::ExecuteAwaiter* self, std::coroutine_handle<> h) {
  if (self->request.op == ploop::engine::Request::Op::Write && self->request.offset == kPoison)
    __builtin_trap();
  return real_await_suspend(self, h);
}
}

int main(int argc, char** argv) {
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION "-poisoned");
}
