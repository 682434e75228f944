// The part of the guardian that keeps worker and keeper going: who dies or stands still is replaced, as long
// as that helps.
#include <signal.h>
#include <sys/wait.h>

#include <utility>

#include "base/log.hpp"
#include "control/registry.hpp"
#include "daemon/guardian.hpp"

namespace ploop::daemon {
namespace {

using Clock = std::chrono::steady_clock;

/// A new worker waits for the dead one's I/O and reads the tables; longer than this it hangs. Below the
/// kernel's patience with waiting processes.
constexpr auto kReplaceTimeout = std::chrono::seconds(90);
/// The same for the first worker of another program, as long as there is a way back.
constexpr auto kHandoverTimeout = std::chrono::seconds(30);
/// How long a child may be stopped by a signal: some tools stop a process for a moment in order to look at
/// it, while requests that wait longer worry people and programs.
constexpr auto kStopGrace = std::chrono::seconds(3);

}  // namespace

void Guardian::on_stopped_child(pid_t pid) {
  log_error("the {} was stopped by a signal", pid == worker_pid_ ? "worker" : "keeper");
  // The worker matters more: as long as it stands still, so does the keeper.
  if (stopped_pid_ == worker_pid_ && stopped_pid_ > 0) return;
  stopped_pid_ = pid;
  stop_ends_ = Clock::now() + kStopGrace;
}

/// Nobody has let it go on in time. A worker that can be replaced is replaced, since who stopped it may do so
/// again.
void Guardian::end_stop() {
  const pid_t pid = stopped_pid_;
  stop_ended();
  const bool replace = pid == worker_pid_ && can_replace();
  log_error("the {} stands still for {} s; it {}", pid == worker_pid_ ? "worker" : "keeper",
            kStopGrace.count(), replace ? "is killed and replaced" : "has to go on");
  ::kill(pid, replace ? SIGKILL : SIGCONT);
}

/// A keeper that was stopped beside the worker was not taken note of.
void Guardian::stop_ended() {
  if (stopped_pid_ == worker_pid_ && side_->keeper().pid > 0) ::kill(side_->keeper().pid, SIGCONT);
  stopped_pid_ = -1;
}

bool Guardian::can_replace() const {
  const bool in_use = phase_ == Phase::Closing && keeper_lost_;
  return (phase_ == Phase::Running || phase_ == Phase::Detaching || in_use) && state_.can_resend;
}

/// False: this kind of keeper can't be. The worker is replaced with it: what the old one was about to tell
/// the kernel of the worker nobody knows.
bool Guardian::replace_keeper(const Error& why) {
  if (!side_->replace_keeper()) return false;
  awaited_sizes_ = 0;
  server_for_next_.reset();
  log_error("{}; another one takes over", why.message());
  if (worker_pid_ > 0) {
    ::kill(worker_pid_, SIGKILL);
  } else {
    begin_replacement();  // the old one was told, or could not be, when the worker died
  }
  if (phase_ == Phase::Detaching)
    ignore(side_->keeper().channel.send("release"), "a dead keeper is noticed by its end");
  return true;
}

/// The block device clears itself as soon as nobody uses it, and until then it works. So does the worker.
void Guardian::go_on_without_keeper(const Error& why) {
  log_error("{}; the device ends when it is not used any more", why.message());
  keeper_lost_ = true;
  if (upgrade_.stage == Upgrade::Stage::Retiring) {
    cancel_upgrade(Error{ExitCode::Busy, 0,
                         "The keeper of the block device ended: only unmounting changes the program"});
  }
  if (worker_waits_) refuse_size();
  close("{}");
  state_.can_resize = false;
  publish_state();
}

/// False: the keeper is dead, too. Its end follows, and then another one is told.
bool Guardian::begin_replacement() {
  const Status begun = side_->begin_replacement();
  if (!begun) log_error("{}", begun.error().message());
  return begun.has_value();
}

/// False: not possible, or not any more.
bool Guardian::replace_worker(int status) {
  if (!can_replace()) return false;
  log_error("the worker ended: {}; another one takes over", describe_end(status));
  const auto lived =
      taking_over_ ? std::chrono::milliseconds(0)
                   : std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - worker_since_);
  server_for_next_.reset();
  worker_waits_ = false;
  if (!begin_replacement() && keeper_lost_) return false;  // nobody follows
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  if (!killed) worker_crashed_ = true;
  // Those who wait for an answer have waited since the first of several.
  if (!taking_over_) take_over_deadline_ = Clock::now() + kReplaceTimeout;
  taking_over_ = true;
  return schedule_replacement(killed ? WorkerDeaths::Cause::Killed : WorkerDeaths::Cause::Crashed, lived);
}

bool Guardian::schedule_replacement(WorkerDeaths::Cause cause, std::chrono::milliseconds lived) {
  const auto pause = deaths_.died(cause, lived);
  if (!pause) {
    log_error("workers keep dying; the device ends");
    return false;
  }
  restart_at_ = Clock::now() + *pause;
  return true;
}

void Guardian::start_replacement() {
  restart_at_.reset();
  const Status started = start_worker(state_.can_resend ? "take_over" : "adopt");
  if (const std::optional<Message> server = std::exchange(server_for_next_, std::nullopt); server && started)
    give_server(*server);
  if (started || worker_pid_ > 0) return;  // one that exists and does not listen ends, which is noticed
  log_error("{}", started.error().message());
  if (!schedule_replacement(WorkerDeaths::Cause::Killed, std::chrono::milliseconds(0))) end(started.error());
}

/// A worker of this program for a device whose last one was told to leave.
void Guardian::take_over_now() {
  taking_over_ = true;
  take_over_deadline_ = Clock::now() + (upgrade_.previous ? kHandoverTimeout : kReplaceTimeout);
  restart_at_ = Clock::now();
}

/// The new worker serves. What it has to know besides the order is said again.
void Guardian::worker_took_over(const Message& message) {
  // Its predecessor may have died between the image's new size and the commit point.
  if (const Result<control::DeviceState> state = control::decode_device_state(message.body))
    state_.size_sectors = state->size_sectors;
  taking_over_ = false;
  worker_lost_ = false;
  worker_since_ = Clock::now();
  state_.worker_pid = worker_pid_;
  state_.deltas = spec_.deltas;  // with what was not known of them if an older program served before
  state_.sandbox = sandbox_;
  if (const Status saved = control::save_state(state_); !saved) log_error("{}", saved.error().message());
  tell_worker("attached", control::encode_device_state(state_));
  // The size may have been changed and not yet been told to the kernel.
  if (phase_ == Phase::Running) tell_size();
  if (phase_ == Phase::Detaching) tell_worker("releasing");
  if (phase_ == Phase::Closing) tell_worker("released");
  upgrade_took_over();
}

/// The new worker is not ready in time.
void Guardian::end_take_over() {
  if (!upgrade_.previous || worker_pid_ <= 0)
    return end(errno_error(ExitCode::DeviceIoctl, ETIMEDOUT, "replace the dead worker"));
  take_over_deadline_ = Clock::now() + kReplaceTimeout;
  ::kill(worker_pid_, SIGKILL);  // its end leads back to the previous program
}

}  // namespace ploop::daemon
