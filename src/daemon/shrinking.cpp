#include "daemon/shrinking.hpp"

#include <cerrno>
#include <coroutine>
#include <cstdlib>
#include <utility>

#include "base/units.hpp"

namespace ploop::daemon {
namespace {

/// A discard is cut into requests of this size, so that others get between them.
constexpr std::uint64_t kDiscardStep = 64 * kMiB;

Status compact_status(int result) {
  if (result == 0) return {};
  if (result == -EOPNOTSUPP) return fail(ExitCode::Param, "Ballooning for raw format is not supported");
  if (result == -EROFS) return fail(ExitCode::Param, "The device is read-only");
  if (result == -EBUSY) return fail(ExitCode::Busy, "The device is busy with another operation");
  if (result == -ENOSPC || result == -EDQUOT) {
    return fail(
        errno_error(ExitCode::Reloc, -result,
                    "Moving clusters needs some space on the host file system; make room and repeat"));
  }
  return fail(errno_error(ExitCode::Reloc, -result, "move clusters of the image"));
}

}  // namespace

/// Runs to its end by itself.
struct Shrinking::Job {
  struct promise_type {
    Job get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() { std::abort(); }
  };
};

void Shrinking::run(control::Call call) {
  if (call.request.method == "discard") {
    const Result<control::DiscardRange> range = control::decode_discard(call.request.params);
    if (!range) return reply_(call, fail(range.error()));
    discard(*this, std::move(call), *range);
    return;
  }
  const Result<std::uint64_t> most = control::decode_compact(call.request.params);
  if (!most) return reply_(call, fail(most.error()));
  if (!device_.begin(engine::Maintenance::Relocate)) {
    const std::string what(engine::maintenance_name(device_.maintenance()));
    return reply_(call, fail(ExitCode::Busy, "The device is busy with another operation (" + what + ")"));
  }
  compact(*this, std::move(call), *most);
}

/// One at a time: who is answered knows that no earlier one works on any more, also none whose command died.
/// What that one gave back is not free for long.
struct Shrinking::Discard {
  std::uint64_t connection;
  bool abandoned = false;
  std::coroutine_handle<> waiting = {};
};

struct Shrinking::Turn {
  Shrinking* self;
  Discard* mine;
  [[nodiscard]] bool await_ready() const noexcept { return self->discards_.front() == mine; }
  void await_suspend(std::coroutine_handle<> handle) const noexcept { mine->waiting = handle; }
  void await_resume() const noexcept {}
};

Shrinking::Job Shrinking::discard(Shrinking& self, control::Call call, control::DiscardRange range) {
  std::uint64_t clusters = 0;
  Discard mine{call.connection};
  self.discards_.push_back(&mine);
  Turn turn{&self, &mine};
  co_await turn;
  int result = self.device_.writable() ? 0 : -EROFS;
  if (self.device_.failed()) result = -EIO;
  while (result == 0 && !mine.abandoned) {
    const engine::Device::Run run = self.device_.first_run_in_top(range.offset, range.length, kDiscardStep);
    if (run.length == 0) break;
    if (!range.dry) {
      engine::Request request;
      request.op = engine::Request::Op::WriteZeroes;
      request.unmap = true;
      request.offset = run.offset;
      request.length = run.length;
      result = co_await self.device_.execute(request);
    }
    if (result == 0) clusters += run.length / self.device_.cluster_bytes();
    const std::uint64_t end = run.offset + run.length;
    range.length -= end - range.offset;
    range.offset = end;
  }
  if (result == 0) {
    self.reply_(call, control::encode_discarded(clusters));
  } else {
    self.reply_(call, fail(errno_error(ExitCode::DeviceIoctl, -result, "discard")));
  }
  self.discards_.erase(self.discards_.begin());
  if (!self.discards_.empty()) self.discards_.front()->waiting.resume();
}

Shrinking::Job Shrinking::compact(Shrinking& self, control::Call call, std::uint64_t most_clusters) {
  self.compacting_for_ = call.connection;
  const engine::CompactResult done = co_await self.device_.compact(most_clusters);
  self.device_.end();
  const Status status = compact_status(done.result);
  if (!status) {
    self.reply_(call, fail(status.error()));
    co_return;
  }
  self.reply_(call,
              control::encode_compact_step({done.moved, done.cut, done.left, self.device_.cluster_bytes()}));
}

void Shrinking::connection_closed(std::uint64_t connection) {
  for (Discard* discard : discards_)
    if (discard->connection == connection) discard->abandoned = true;
  if (device_.maintenance() == engine::Maintenance::Relocate && compacting_for_ == connection)
    device_.cancel_compact();
}

}  // namespace ploop::daemon
