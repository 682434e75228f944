// The part of the guardian that replaces its own program; the stages are in upgrade.hpp.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/json.hpp"
#include "control/registry.hpp"
#include "daemon/guardian.hpp"
#include "daemon/handover.hpp"
#include "daemon/safety.hpp"
#include "daemon/worker.hpp"

namespace ploop::daemon {
namespace {

using Clock = std::chrono::steady_clock;
using Stage = Upgrade::Stage;

/// Requests take milliseconds. Whoever does not finish them in this time waits for something.
constexpr auto kRetireTimeout = std::chrono::seconds(5);
/// A program whose worker crashes sooner than this after it began to serve was no improvement.
constexpr auto kTrial = std::chrono::seconds(5);

Result<Fd> make_answer() {
  Fd answer{::memfd_create("ploop-answer", MFD_CLOEXEC)};
  if (!answer) return fail_errno(ExitCode::System, "make a memory file");
  return answer;
}

/// Regular files can be executed, and the kernel says the rest.
Result<Fd> open_program(const std::string& path) {
  if (!path.starts_with("/"))
    return fail(ExitCode::Param, "The program must be named with its whole path: " + path);
  if (::access(path.c_str(), X_OK) != 0) return fail_errno(ExitCode::Param, "run " + path);
  return open_file(path, O_PATH);
}

}  // namespace

/// Nothing: it can begin.
Status Guardian::refuse_upgrade() const {
  const std::string name = claim_ ? device_path(claim_->number()) : "The device";
  const bool on_trial =
      upgrade_.stage == Stage::Trial && upgrade_.connection == 0;  // it serves, that will do
  if (upgrade_.stage != Stage::None && !on_trial)
    return fail(ExitCode::Busy, name + " is being upgraded already");
  if (phase_ != Phase::Running || taking_over_ || answer_ || unwanted_) {
    return fail(ExitCode::Busy, name + " is not in its usual state; repeat it in a moment");
  }
  if (!side_->keeper().channel.idle())
    return fail(ExitCode::Busy, name + " is changing its size; repeat it in a moment");
  if (admin_.connections() > 1)
    return fail(ExitCode::Busy, "Another command works on " + name + "; repeat it when that has ended");
  return {};
}

void Guardian::begin_upgrade(std::uint64_t connection, const control::Request& request) {
  const auto begin = [&]() -> Status {
    TRY(refuse_upgrade());
    const control::Json params = TRY(control::parse_object(request.params, "upgrade"));
    const std::string path = TRY(control::string_field(params, "program"));
    upgrade_ = {};
    upgrade_.program = TRY(open_program(path));
    upgrade_.connection = connection;
    upgrade_.request = request.id;
    upgrade_.answer = TRY(make_answer());
    std::vector<int> kept;
    const Fd text = TRY(handover_file(handover(kept)));
    upgrade_.asked_pid = TRY(ask_program(upgrade_.program, text, upgrade_.answer));
    upgrade_.stage = Stage::Asking;
    return {};
  };
  if (const Status begun = begin(); !begun) admin_.reply(connection, request.id, fail(begun.error()));
}

/// What the next program has to know, and the descriptors that have to stay open.
Handover Guardian::handover(std::vector<int>& kept) const {
  Handover h;
  h.program = version_;
  h.spec = spec_;
  h.state = state_;
  h.side = side_->hand_over(kept);
  h.keeper_pid = side_->keeper().pid;
  h.keeper_channel = side_->keeper().channel.fd();
  h.pending_sizes = awaited_sizes_;
  h.lock = claim_->descriptor();
  h.map = map_.get();
  h.control_socket = control_socket_.get();
  h.admin_socket = admin_.listening();
  h.asker = admin_.socket_of(upgrade_.connection);
  h.request = upgrade_.request;
  h.files = level_files_.descriptors();
  kept.insert(kept.end(), h.files.begin(), h.files.end());
  kept.insert(kept.end(), {h.keeper_channel, h.lock, h.map, h.control_socket, h.admin_socket, h.asker});
  return h;
}

/// A child becomes the new program as this process is going to, up to the moment from which the device would
/// depend on it.
Status Guardian::rehearse() {
  upgrade_.answer = TRY(make_answer());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid == 0) {
    if (!die_with_parent(parent)) ::_exit(1);
    limit_asked_time();
    ::dup2(upgrade_.answer.get(), STDOUT_FILENO);
    const Status failed = become_next(upgrade_.program, "", Resume::Rehearsal);
    log_error("{}", failed.error().message());
    ::_exit(1);
  }
  upgrade_.asked_pid = pid;
  upgrade_.stage = Stage::Rehearsing;
  return {};
}

/// The process of the new program that was asked, or that rehearsed, has ended.
void Guardian::program_answered(int status) {
  upgrade_.asked_pid = -1;
  if (upgrade_.stage != Stage::Asking && upgrade_.stage != Stage::Rehearsing) return;
  const Result<std::string> version = program_answer(status, upgrade_.answer);
  upgrade_.answer.reset();
  if (!version) return cancel_upgrade(version.error());
  if (phase_ != Phase::Running || taking_over_) {
    return cancel_upgrade(
        Error{ExitCode::Busy, 0, "The device is not in its usual state any more; repeat it in a moment"});
  }
  if (upgrade_.stage == Stage::Asking) {
    if (const Status begun = rehearse(); !begun) cancel_upgrade(begun.error());
    return;
  }
  log_error("upgrading from {} to {}", version_, *version);
  upgrade_.stage = Stage::Retiring;
  upgrade_.deadline = Clock::now() + kRetireTimeout;
  tell_worker("retire");
}

/// Nothing has changed yet.
void Guardian::cancel_upgrade(const Error& error) {
  log_error("no upgrade: {}", error.message());
  if (upgrade_.stage == Stage::Retiring) tell_worker("stay");
  admin_.reply(upgrade_.connection, upgrade_.request, fail(Error(error)));
  upgrade_ = {};
}

/// Answers of the worker that was told to retire; true when the message was one.
bool Guardian::on_retiring_worker(const Message& message) {
  if (message.name != "occupied" && message.name != "unable") return false;
  if (upgrade_.stage != Stage::Retiring) return true;
  if (message.name == "unable") {
    // Its end is as good as that of a retired one where the kernel delivers again what it had.
    upgrade_.deadline = state_.can_resend ? Clock::time_point::max() : Clock::now();
    if (state_.can_resend) ::kill(worker_pid_, SIGKILL);
    return true;
  }
  const Result<control::Json> json = control::parse_object(message.body, "worker");
  const Result<std::string> name = json ? control::string_field(*json, "name") : fail(Error(json.error()));
  cancel_upgrade(Error{
      ExitCode::Busy, 0,
      "The device is occupied (" + name.value_or("unknown") + "); repeat the upgrade when that has ended"});
  return true;
}

/// Also one that was killed, where the kernel delivers again what it had. True: the end of the worker belongs
/// to the upgrade.
bool Guardian::on_retired(int status) {
  const bool retired = WIFEXITED(status) && WEXITSTATUS(status) == kRetiredStatus;
  const bool serving = phase_ == Phase::Running || phase_ == Phase::Detaching;
  if (upgrade_.stage == Stage::Trial && can_go_back(status)) {
    go_back("its worker ended: " + describe_end(status));
    return true;
  }
  if (!serving || (!retired && !(upgrade_.stage == Stage::Retiring && state_.can_resend))) return false;
  server_for_next_.reset();
  worker_waits_ = false;
  const bool begun = begin_replacement();
  if (upgrade_.stage == Stage::Retiring && (phase_ != Phase::Running || !begun)) {
    const char* const why = begun ? "The device is being detached" : "The device's keeper has ended";
    admin_.reply(upgrade_.connection, upgrade_.request, fail(ExitCode::Busy, why));
    upgrade_ = {};
  }
  if (upgrade_.stage == Stage::Retiring) {
    const Status failed = become_next(upgrade_.program, "");
    log_error("{}", failed.error().message());
    upgrade_.failed = failed.error().message();
    upgrade_.stage = Stage::Trial;
  }
  take_over_now();
  return true;
}

/// Executes `program` in this process; returns only when that fails.
Status Guardian::become_next(const Fd& program, const std::string& failed, Resume how) const {
  std::vector<int> kept;
  Handover h = handover(kept);
  h.failed = failed;
  Fd self;
  if (failed.empty()) {
    self = TRY(open_file("/proc/self/exe", O_PATH));
    h.previous = self.get();
    kept.push_back(h.previous);
  }
  const Fd text = TRY(handover_file(h));
  return become_program(program, text, kept, how);
}

/// Every way of a new program not to work, as long as the old one is at hand. A worker that was killed says
/// nothing about its program, unless it never came to serve.
bool Guardian::can_go_back(int status) const {
  if (!upgrade_.previous || phase_ != Phase::Running) return false;
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  return taking_over_ || (state_.can_resend && !killed);
}

void Guardian::go_back(const std::string& why) {
  log_error("{} can't go on: {}; back to {}", version_, why, upgrade_.from);
  const Fd previous = std::move(upgrade_.previous);
  begin_replacement();
  const Status failed = become_next(previous, version_ + ": " + why);
  log_error("{}", failed.error().message());
  take_over_now();  // with what there is
}

void Guardian::upgrade_took_over() {
  if (upgrade_.stage != Stage::Trial) return;
  log_error("{} serves the device, after {}", version_, upgrade_.from.empty() ? version_ : upgrade_.from);
  if (upgrade_.failed.empty()) {
    const control::Json result{{"from", upgrade_.from}, {"to", version_}};
    admin_.reply(upgrade_.connection, upgrade_.request, control::to_line(result));
  } else {
    admin_.reply(
        upgrade_.connection, upgrade_.request,
        fail(ExitCode::System, "The new program failed, and " + version_ + " goes on: " + upgrade_.failed));
  }
  upgrade_.connection = 0;
  upgrade_.deadline = Clock::now() + kTrial;
}

void Guardian::on_upgrade_time() {
  const auto now = Clock::now();
  // Its requests wait for the storage. Killing it would not end them: the images stay locked until they end,
  // and if that takes too long no worker can take over.
  if (upgrade_.stage == Stage::Retiring && upgrade_.deadline <= now) {
    return cancel_upgrade(Error{ExitCode::Busy, 0,
                                "The device does not come to rest: its storage does not answer; repeat the "
                                "upgrade when it does"});
  }
  if (upgrade_.stage == Stage::Trial && upgrade_.connection == 0 && upgrade_.deadline <= now) upgrade_ = {};
}

Guardian::Guardian(Handover h, std::string version) : version_(std::move(version)), spec_(std::move(h.spec)) {
  state_ = std::move(h.state);
  state_.program = version_;
  awaited_sizes_ = h.pending_sizes;
  phase_ = Phase::Running;
  served_ = true;
  worker_lost_ = true;  // one that retires has committed nothing
  claim_ = control::DeviceClaim::adopt(state_.number, Fd{h.lock});
  map_ = Fd{h.map};
  control_socket_ = Fd{h.control_socket};
  admin_ = h.asker >= 0 ? Admin(Fd{h.admin_socket}, Fd{h.asker}) : Admin(Fd{h.admin_socket});
  upgrade_.stage = Stage::Trial;
  upgrade_.connection = 1;
  upgrade_.request = h.request;
  upgrade_.previous = Fd{h.previous};
  upgrade_.from = std::move(h.program);
  upgrade_.failed = std::move(h.failed);
  level_files_.adopt(h.files);
  set_kept(h.files, false);
  set_kept({h.lock, h.map, h.control_socket, h.admin_socket, h.asker, h.previous, h.keeper_channel}, false);
}

Status Guardian::adopt(const Handover& h) {
  side_ = KernelSide::make(spec_.transport, {state_.number, spec_.read_only});
  side_->keeper() = {h.keeper_pid, Channel(Fd{h.keeper_channel})};
  TRY(side_->adopt(h.side));
  std::vector<int> kept;
  [[maybe_unused]] const std::string same = side_->hand_over(kept);  // for the numbers
  set_kept(kept, false);
  TRY(prepare_process());
  lock_memory();
  return {};
}

/// Without destructors, which would end what goes on in the parent.
void Guardian::rehearse_resume(const Handover& h, int answer) {
  const Status adopted = adopt(h);
  ::_exit(tell_answer(answer, adopted, version_));
}

int Guardian::resume(const Handover& h) {
  if (const Status adopted = adopt(h); !adopted) {
    end(adopted.error());
  } else {
    take_over_now();
    on_signal();  // a keeper may have ended while this process changed
    loop();
  }
  tear_down();
  return failed_ ? 1 : 0;
}

}  // namespace ploop::daemon
