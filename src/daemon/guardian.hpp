// The guardian of one device: takes a number, makes the FUSE connection, starts worker and keeper, and takes everything down
// again, in the right order, whatever ends first. It parses nothing of an image and never does I/O on its own device.
//
//   STARTING   worker opens the images            worker: ready -> ATTACHING
//   ATTACHING  keeper sets up the loop device     keeper: attached -> RUNNING, answer to the command
//   RUNNING                                       worker: detach (or SIGTERM) -> DETACHING
//   DETACHING  keeper lets go                     keeper: busy -> RUNNING; released -> CLOSING
//   CLOSING    the mount is dropped, the worker's /dev/fuse ends, it commits and exits -> ENDED
//
// A worker that is killed while the device runs is replaced: the new one takes over the live map, and the kernel hands it the requests
// that were in flight, so nobody above notices more than a pause. Where the kernel can't do that (before 6.9), when workers keep dying, or
// in another state, the end of the worker ends the device: all descriptors of the connection are closed, which gives waiting I/O
// an error at once, and everything that carries the device's name is removed. A keeper that ends leads to CLOSING.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/chain_messages.hpp"
#include "control/device_state.hpp"
#include "control/registry.hpp"
#include "daemon/channel.hpp"
#include "transport/fuse/connection.hpp"

namespace ploop::daemon {

class Guardian {
 public:
  /// `answer` is a socket, at whose other end the command waits for one line: {"state": {...}} or {"error": {...}}. The
  /// device ends with the command, unless that sends control::kKeepDevice.
  Guardian(control::AttachSpec spec, Fd answer) : spec_(std::move(spec)), answer_(std::move(answer)) {}

  /// Serves the device until it ends. The result is the exit status of the process.
  int run();

 private:
  enum class Phase { Starting, Attaching, Running, Detaching, Closing, Ended };

  Status prepare();
  Status start_worker(std::string_view order);
  bool replace_worker(const std::string& why);
  void worker_took_over();
  void loop();
  void on_signal();
  void on_child(pid_t pid, int status);
  void on_worker(const Message& message);
  void on_keeper(const Message& message);
  void worker_ready(const Message& message);
  void loop_attached(const Message& message);
  void change_chain(const Message& message);
  Status pass_commit_point(const control::ChainState& next);
  void begin_detach();
  void close(const std::string& released);
  void end(const Error& error);
  void tear_down();
  void rescue_data();
  void answer(const std::string& line);
  void on_command();
  void end_unwanted();
  template <typename Handle>
  void receive(Channel& channel, Handle handle);

  control::AttachSpec spec_;
  Fd answer_;  ///< to the command that started us, until it lets go of the device
  bool unwanted_ = false;  ///< the command died before it let go: the device ends as soon as nobody uses it
  Phase phase_ = Phase::Starting;
  std::optional<control::DeviceClaim> claim_;
  transport::fuse::Connection connection_;
  Fd map_;
  Fd control_socket_;
  Fd signals_;
  Channel worker_;
  Channel keeper_;
  pid_t worker_pid_ = -1;
  pid_t keeper_pid_ = -1;
  control::DeviceState state_;
  std::chrono::steady_clock::time_point start_deadline_;
  bool served_ = false;  ///< was running once; then its log is worth keeping when it fails
  bool failed_ = false;
  bool worker_lost_ = false;  ///< it did not get to commit and close
  bool taking_over_ = false;  ///< a new worker was started in place of a dead one and is not ready yet
  std::chrono::steady_clock::time_point take_over_deadline_;
  std::chrono::steady_clock::time_point worker_since_;  ///< when the present worker began to serve
  unsigned quick_deaths_ = 0;                           ///< workers in a row that died soon after they began
};

}  // namespace ploop::daemon
