// The guardian of one device: takes a number, holds the kernel's end, starts worker and keeper, and takes
// everything down again, in the right order, whatever ends first. It parses nothing of an image and never
// does I/O on its own device.
//
//   STARTING   worker opens the images            worker: ready -> ATTACHING
//   ATTACHING  keeper makes the block device      keeper: attached -> RUNNING, answer to the command
//   RUNNING                                       worker: detach (or SIGTERM) -> DETACHING
//   DETACHING  keeper lets go                     keeper: busy -> RUNNING; released -> CLOSING
//   CLOSING    the kernel's end is dropped, the worker's requests end, it commits and exits -> ENDED
//
// A worker that is killed while the device runs is replaced: the new one takes over the live map, and the
// kernel hands it the requests that were in flight, so nobody above notices more than a pause. One that a
// signal has stopped is killed after a moment and replaced in the same way. Where the kernel can't do that
// (before 6.9), when workers keep dying, or in another state, the end of the worker ends the device: the
// kernel's end of it goes, which gives waiting I/O an error at once, and everything that carries the device's
// name is removed. A keeper that ends leads to CLOSING, unless it can be replaced;
// as long as the device is in use then, its workers are replaced as before.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/chain_messages.hpp"
#include "control/device_state.hpp"
#include "control/registry.hpp"
#include "daemon/admin.hpp"
#include "daemon/authority.hpp"
#include "daemon/channel.hpp"
#include "daemon/file_desk.hpp"
#include "daemon/handover.hpp"
#include "daemon/kernel_side.hpp"
#include "daemon/level_files.hpp"
#include "daemon/upgrade.hpp"
#include "daemon/worker_deaths.hpp"

namespace ploop::daemon {

class Guardian {
 public:
  /// `answer` is a socket, at whose other end the command waits for one line: {"state": {...}} or {"error":
  /// {...}}. The device ends with the command, unless that sends control::kKeepDevice.
  Guardian(control::AttachSpec spec, Fd answer, std::string version)
      : version_(std::move(version)), spec_(std::move(spec)), answer_(std::move(answer)) {}
  /// Goes on where another program left off in this process; takes the descriptors that `handover` names. For
  /// resume().
  Guardian(Handover handover, std::string version);

  /// Serves the device until it ends. The result is the exit status of the process.
  int run();
  /// The same, after the other constructor.
  int resume(const Handover& handover);
  /// In a child of a guardian that is about to become this program: all that resume() does before there is a
  /// worker. Whatever goes wrong, a crash above all, goes wrong here and not in the process that the device
  /// depends on. Writes the answer to a question for this program, and ends the process, with the exit status
  /// that belongs to it.
  [[noreturn]] void rehearse_resume(const Handover& handover, int answer);

 private:
  enum class Phase { Starting, Attaching, Running, Detaching, Closing, Ended };

  Status prepare();
  Status prepare_process();
  Status adopt(const Handover& handover);
  Status start_worker(std::string_view order);
  [[nodiscard]] bool can_replace() const;
  bool begin_replacement();
  bool replace_worker(int status);
  bool schedule_replacement(WorkerDeaths::Cause cause, std::chrono::milliseconds lived);
  void start_replacement();
  bool replace_keeper(const Error& why);
  void go_on_without_keeper(const Error& why);
  void refuse_size();
  void publish_state();
  void tell_worker(std::string_view name, std::string_view body = "{}", int descriptor = -1);
  void tell_size();
  void worker_resized(const Message& message);
  void size_told(const Message& message);
  void give_server(const Message& message);
  void worker_took_over(const Message& message);
  void end_take_over();
  void loop();
  void on_events(std::span<const pollfd> fds);
  [[nodiscard]] std::vector<pollfd> polls() const;
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> next_deadline() const;
  void on_time();
  [[nodiscard]] Status refuse_upgrade() const;
  void begin_upgrade(std::uint64_t connection, const control::Request& request);
  [[nodiscard]] Handover handover(std::vector<int>& kept) const;
  Status rehearse();
  void program_answered(int status);
  void cancel_upgrade(const Error& error);
  bool on_retiring_worker(const Message& message);
  bool on_retired(int status);
  void take_over_now();
  Status become_next(const Fd& program, const std::string& failed, Resume how = Resume::Really) const;
  [[nodiscard]] bool can_go_back(int status) const;
  void go_back(const std::string& why);
  void upgrade_took_over();
  void on_upgrade_time();
  void on_admin(std::uint64_t connection, const control::Request& request);
  Result<std::string> run_admin(std::uint64_t connection, const control::Request& request);
  void on_signal();
  void on_child(pid_t pid, int status);
  void on_stopped_child(pid_t pid);
  void end_stop();
  void stop_ended();
  void on_worker(const Message& message);
  void on_sandbox(const Message& message);
  void on_keeper(const Message& message);
  void worker_ready(const Message& message);
  void device_attached(const Message& message);
  void change_chain(const Message& message);
  Status pass_commit_point(const control::ChainState& next);
  [[nodiscard]] Status reserve_state(const control::ChainState& next) const;
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

  std::string version_;  ///< of this program
  control::AttachSpec spec_;
  Fd answer_;  ///< to the command that started us, until it lets go of the device
  bool keeper_lost_ =
      false;               ///< and can't be replaced: Closing, while the device may still be in use for long
  bool unwanted_ = false;  ///< the command died before it let go: the device ends as soon as nobody uses it
  Phase phase_ = Phase::Starting;
  std::optional<control::DeviceClaim> claim_;
  std::unique_ptr<KernelSide> side_;
  Fd map_;
  Fd control_socket_;
  Fd signals_;
  Admin admin_;
  std::optional<Message> server_for_next_;  ///< what the next worker serves on, come before there is one
  Authority authority_{spec_};
  LevelFiles level_files_{spec_};
  std::optional<FileDesk> files_;     ///< of the present worker
  std::optional<Message> lent_;       ///< the level that a worker has lent to a command; for its successor
  std::vector<std::string> sandbox_;  ///< the parts of its sandbox
  Channel worker_;
  pid_t worker_pid_ = -1;
  control::DeviceState state_;
  std::chrono::steady_clock::time_point start_deadline_;
  unsigned awaited_sizes_ = 0;  ///< answers of the keeper to come; more than one only after another program
  bool size_changed_ = false;   ///< meanwhile: it is told again when they are there
  bool worker_waits_ = false;   ///< the present one, for the kernel to have its size
  bool served_ = false;         ///< was running once; then its log is worth keeping when it fails
  bool failed_ = false;
  bool worker_crashed_ = false;  ///< one did, and was replaced: the log is worth keeping
  bool worker_lost_ = false;  ///< the last one did not end with a commit: the map may know what no image does
  bool taking_over_ = false;  ///< a new worker was started in place of a dead one and is not ready yet
  std::chrono::steady_clock::time_point take_over_deadline_;
  std::optional<std::chrono::steady_clock::time_point>
      restart_at_;                                      ///< when the next worker is started, during a pause
  std::chrono::steady_clock::time_point worker_since_;  ///< when the present worker began to serve
  WorkerDeaths deaths_;
  Upgrade upgrade_;
  pid_t stopped_pid_ = -1;  ///< a child that a signal has stopped, until stop_ends_
  std::chrono::steady_clock::time_point stop_ends_;
};

}  // namespace ploop::daemon
