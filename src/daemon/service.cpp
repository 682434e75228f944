#include "daemon/service.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/log.hpp"
#include "control/json.hpp"
#include "control/protocol.hpp"

namespace ploop::daemon {
namespace {

constexpr int kReleasedTimeoutMs = 5000;

control::DeviceStats collect(const engine::Device& device) {
  const engine::Stats& s = device.stats();
  control::DeviceStats out;
  out.reads = s.reads.get();
  out.read_bytes = s.read_bytes.get();
  out.writes = s.writes.get();
  out.written_bytes = s.write_bytes.get();
  out.flushes = s.flushes.get();
  out.discards = s.zeroings.get();
  out.discarded_bytes = s.zeroed_bytes.get();
  out.allocations = s.allocated.get();
  out.barriers = s.barriers.get();
  out.table_pages = s.table_pages.get();
  out.errors = s.errors.get();
  out.failed = device.failed();
  out.waits_for_space = device.paused_for_space();
  return out;
}

}  // namespace

/// A coroutine that never returns; the service destroys it.
struct Service::Endless {
  struct promise_type {
    Endless get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<> handle;
};

/// Waits until a descriptor has something to read.
struct Service::Readable : io::ResumeOnCompletion {
  Readable(io::UringRing& r, int f) : ring(&r), fd(f) { finished = &resume; }
  io::UringRing* ring;
  int fd;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    waiting = h;
    ring->submit_poll(fd, POLLIN, this);
  }
  [[nodiscard]] int await_resume() const noexcept { return result; }
};

/// Waits until the flusher has something to do.
struct Service::Idle {
  std::coroutine_handle<>* sleeper;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const { *sleeper = h; }
  void await_resume() const noexcept {}
};

Service::Service(io::UringRing& ring, engine::Device& device, Channel& guardian, CommandInbox& inbox,
                 Operations::Parts working)
    : ring_(ring),
      device_(device),
      tracking_(device),
      shrinking_(device, [this](const control::Call& call,
                                const Result<std::string>& result) { reply(call, result); }),
      guardian_(guardian),
      inbox_(inbox),
      operations_(std::move(working),
                  {[this](const control::Call& call, const Status& status) { answer(call, status); },
                   [this](const control::Call& call, const std::string& event) {
                     inbox_.reply(call, control::encode_event(call.request.id, event));
                   }}) {
  tasks_ = {serve_commands(*this).handle, serve_guardian(*this).handle, serve_flushes(*this).handle};
}

Service::~Service() {
  inbox_.stop();
  for (const std::coroutine_handle<> task : tasks_)
    task.destroy();
}

Service::Endless Service::serve_commands(Service& self) {
  for (;;) {
    Readable readable(self.ring_, self.inbox_.fd());
    [[maybe_unused]] const int ready =
        co_await readable;  // whatever it says, the read that follows finds out
    std::vector<control::Call> calls = self.inbox_.take();
    for (control::Call& call : calls)
      self.run_command(std::move(call));
  }
}

Service::Endless Service::serve_guardian(Service& self) {
  for (;;) {
    Readable readable(self.ring_, self.guardian_.fd());
    [[maybe_unused]] const int ready =
        co_await readable;  // whatever it says, the read that follows finds out
    // The end of the guardian kills this process; until that has happened there is nothing to do.
    if (!self.guardian_.receive()) ::_exit(1);
    while (std::optional<Result<Message>> message = self.guardian_.next()) {
      if (*message) self.on_guardian(**message);
    }
  }
}

/// Flushes for all who asked until the flush began; later ones wait for the next.
Service::Endless Service::serve_flushes(Service& self) {
  for (;;) {
    if (self.flushing_.empty()) {
      Idle idle{&self.flusher_};
      co_await idle;
    }
    const std::vector<control::Call> calls = std::exchange(self.flushing_, {});
    engine::Request request;
    request.op = engine::Request::Op::Flush;
    const int result = co_await self.device_.execute(request);
    Status status;
    if (result < 0) status = fail(errno_error(ExitCode::Fsync, -result, "flush"));
    for (const control::Call& call : calls)
      self.answer(call, status);
  }
}

void Service::run_command(control::Call call) {
  if (call.closed) {
    tracking_.connection_closed(call.connection);
    shrinking_.connection_closed(call.connection);
    return operations_.connection_closed(call.connection);
  }
  const std::string& method = call.request.method;
  if (method == "ping") return answer(call, {});
  if (method == "stats") {
    return inbox_.reply(call,
                        control::encode_result(call.request.id, control::encode_stats(collect(device_))));
  }
  if (Tracking::handles(method)) {
    return reply(call, tracking_.run(call));
  }
  if (Shrinking::handles(method)) return shrinking_.run(std::move(call));
  if (Operations::handles(method)) return operations_.run(std::move(call));
  if (method == "maintenance") {
    const std::string state = control::encode_maintenance(operations_.state());
    return inbox_.reply(call, control::encode_result(call.request.id, state));
  }
  if (method == "info") {
    // A worker that just took over hears of the state in a moment.
    if (state_.empty()) return early_.push_back(std::move(call));
    return inbox_.reply(call, control::encode_result(call.request.id, state_));
  }
  if (method == "flush") {
    flushing_.push_back(std::move(call));
    if (flusher_) std::exchange(flusher_, nullptr).resume();
    return;
  }
  if (method == "detach") {
    detaching_.push_back(std::move(call));
    if (detaching_.size() == 1) ignore(guardian_.send("detach"), "its end is noticed elsewhere");
    return;
  }
  answer(call, fail(ExitCode::Protocol, "Unknown method " + method));
}

void Service::on_guardian(const Message& message) {
  if (message.name == "attached" || message.name == "state") {
    state_ = message.body;
    for (const control::Call& call : std::exchange(early_, {})) {
      inbox_.reply(call, control::encode_result(call.request.id, state_));
    }
  } else if (operations_.on_guardian(message)) {
    return;
  } else if (message.name == "retire") {
    retire();
  } else if (message.name == "stay") {
    operations_.stay();
    inbox_.resume();
  } else if (message.name == "releasing") {
    // Writes that wait for space would keep the keeper from writing back, for ever.
    device_.stop_waiting_for_space(true);
  } else if (message.name == "busy") {
    device_.stop_waiting_for_space(false);
    for (const control::Call& call : std::exchange(detaching_, {})) {
      answer(call, fail(errno_error(ExitCode::DeviceIoctl, EBUSY, "The device is open")));
    }
  } else if (message.name == "released") {
    released_ = true;
    written_back_ = control::decode_outcome(message.body);
  }
}

/// Another program takes over when the requests in progress are answered. What a command has begun by then
/// would be lost, so there may be none.
void Service::retire() {
  std::string_view occupied = operations_.occupied_by();
  if (occupied.empty() && !inbox_.pause()) occupied = "a command is connected";
  if (!occupied.empty()) {
    const control::Json body{{"name", std::string(occupied)}};
    return ignore(guardian_.send("occupied", control::to_line(body)), "its end is noticed elsewhere");
  }
  // Requests that wait for space can be given up at any moment, and would not end in time.
  if (device_.paused_for_space() || !operations_.retire())
    ignore(guardian_.send("unable"), "its end is noticed elsewhere");
}

void Service::answer(const control::Call& call, const Status& status) {
  inbox_.reply(call, status ? control::encode_result(call.request.id, "{}")
                            : control::encode_error(call.request.id, status.error()));
}

void Service::reply(const control::Call& call, const Result<std::string>& result) {
  inbox_.reply(call, result ? control::encode_result(call.request.id, *result)
                            : control::encode_error(call.request.id, result.error()));
}

/// Nothing runs the ring any more. A disk that the keeper stops ends before the guardian has passed on what
/// it said about that.
void Service::hear_released() {
  while (!detaching_.empty() && !released_) {
    const Result<Message> message = guardian_.wait(kReleasedTimeoutMs);
    if (!message) return;
    if (message->name == "released") on_guardian(*message);
  }
}

void Service::finish(const Status& closed) {
  hear_released();
  const Status& result = written_back_ ? closed : written_back_;
  for (const control::Call& call : std::exchange(detaching_, {}))
    answer(call, result);
  inbox_.stop();
}

}  // namespace ploop::daemon
