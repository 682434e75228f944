// What the worker does besides serving requests: commands from the control socket and messages from the guardian. Both arrive
// on the ring's thread, in coroutines of their own; the control server's thread only hands over.
#pragma once

#include <coroutine>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/server.hpp"
#include "daemon/channel.hpp"
#include "daemon/operations.hpp"
#include "daemon/shrinking.hpp"
#include "daemon/tracking.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {

class Service {
 public:
  /// Starts serving `control_socket`; `guardian` stays the caller's. ExitCode::System.
  static Result<std::unique_ptr<Service>> start(io::UringRing& ring, engine::Device& device, Channel& guardian, Fd control_socket,
                                                Operations::Parts working);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// The device is gone and its images are closed with this result: answers who asked for the detach, and ends.
  void finish(const Status& closed);

 private:
  struct Endless;
  struct Readable;
  struct Idle;
  Service(io::UringRing& ring, engine::Device& device, Channel& guardian, Fd wakeup, Operations::Parts working);

  static Endless serve_commands(Service& self);
  static Endless serve_guardian(Service& self);
  static Endless serve_flushes(Service& self);
  std::vector<control::Call> take_inbox();
  void run_command(control::Call call);
  void on_guardian(const Message& message);
  void answer(const control::Call& call, const Status& status);
  void reply(const control::Call& call, const Result<std::string>& result);

  io::UringRing& ring_;
  engine::Device& device_;
  Tracking tracking_;
  Shrinking shrinking_;
  Channel& guardian_;
  Fd wakeup_;
  std::mutex mutex_;
  std::vector<control::Call> inbox_;  ///< under mutex_
  std::vector<control::Call> early_;  ///< asked for the state before it was known
  std::vector<control::Call> flushing_;
  std::vector<control::Call> detaching_;
  std::coroutine_handle<> flusher_;   ///< set while it has nothing to do
  std::string state_;                 ///< text of the device state, "" until attached
  Status written_back_;               ///< what the keeper said about the page cache
  Operations operations_;
  std::vector<std::coroutine_handle<>> tasks_;
  std::unique_ptr<control::Server> server_;
};

}  // namespace ploop::daemon
