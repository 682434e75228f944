// What the worker does besides serving requests: commands from the control socket and messages from the
// guardian. Both arrive on the ring's thread, in coroutines of their own.
#pragma once

#include <coroutine>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/server.hpp"
#include "daemon/channel.hpp"
#include "daemon/command_inbox.hpp"
#include "daemon/operations.hpp"
#include "daemon/shrinking.hpp"
#include "daemon/tracking.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {

class Service {
 public:
  /// Serves what comes in; all of the parts stay the caller's.
  Service(io::UringRing& ring, engine::Device& device, Channel& guardian, CommandInbox& inbox,
          Operations::Parts working);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// Another worker goes on with the device: answers what is due and takes no more commands.
  void leave() { inbox_.stop(); }
  /// The device is gone and its images are closed with this result: answers who asked for the detach, and
  /// ends.
  void finish(const Status& closed);

 private:
  struct Endless;
  struct Readable;
  struct Idle;

  static Endless serve_commands(Service& self);
  static Endless serve_guardian(Service& self);
  static Endless serve_flushes(Service& self);
  void run_command(control::Call call);
  void on_guardian(const Message& message);
  void hear_released();
  void retire();
  void answer(const control::Call& call, const Status& status);
  void reply(const control::Call& call, const Result<std::string>& result);

  io::UringRing& ring_;
  engine::Device& device_;
  Tracking tracking_;
  Shrinking shrinking_;
  Channel& guardian_;
  CommandInbox& inbox_;
  std::vector<control::Call> early_;  ///< asked for the state before it was known
  std::vector<control::Call> flushing_;
  std::vector<control::Call> detaching_;
  std::coroutine_handle<> flusher_;  ///< set while it has nothing to do
  std::string state_;                ///< text of the device state, "" until attached
  bool released_ = false;            ///< the guardian said so
  Status written_back_;              ///< what the keeper said about the page cache
  Operations operations_;
  std::vector<std::coroutine_handle<>> tasks_;
};

}  // namespace ploop::daemon
