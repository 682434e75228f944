#include "daemon/guardian.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <utility>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/subprocess.hpp"
#include "control/json.hpp"
#include "control/process.hpp"
#include "control/protocol.hpp"
#include "daemon/images.hpp"
#include "daemon/live_map.hpp"
#include "daemon/safety.hpp"
#include "daemon/salvage.hpp"
#include "daemon/stopped_call.hpp"
#include "daemon/worker_process.hpp"

namespace ploop::daemon {
namespace {

using Clock = std::chrono::steady_clock;
using control::Json;

/// Shorter than the command's patience, so that it hears a reason.
constexpr auto kStartTimeout = std::chrono::seconds(50);
/// With a worker that does not read what it is told.
constexpr auto kWorkerPatience = std::chrono::seconds(5);
/// Between attempts to end a device that nobody wants.
constexpr int kUnwantedPauseMs = 200;
/// Descriptors that the loop polls besides those of the admin socket.
constexpr std::size_t kOwnPolls = 5;

Result<Fd> block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT})
    sigaddset(&set, signal);
  ::sigprocmask(SIG_SETMASK, &set, nullptr);
  Fd fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!fd) return fail_errno(ExitCode::System, "make a signalfd");
  return fd;
}

}  // namespace

int Guardian::run() {
  if (const Status prepared = prepare(); !prepared) {
    end(prepared.error());
  } else {
    loop();
  }
  tear_down();
  return failed_ ? 1 : 0;
}

Status Guardian::prepare() {
  start_deadline_ = Clock::now() + kStartTimeout;
  signals_ = TRY(block_signals());  // before there is a child
  claim_ = TRY(control::DeviceClaim::take(spec_.device_number));
  const int number = claim_->number();
  const Fd log_file =
      TRY(open_file(control::log_path(number), O_WRONLY | O_CREAT | O_APPEND, 0600, ExitCode::Create));
  if (::dup2(log_file.get(), STDERR_FILENO) < 0) return fail_errno(ExitCode::System, "redirect messages");
  TRY(prepare_process());  // complains into the log, not on the caller's terminal
  map_ = TRY(make_map_file(number));
  control_socket_ = TRY(control::listen_at(control::control_path(number)));
  admin_ = Admin(TRY(control::listen_at(control::admin_path(number))));
  spec_.transport = TRY(choose_transport(spec_.transport));
  side_ = KernelSide::make(spec_.transport, {number, spec_.read_only});
  TRY(side_->open());
  return start_worker("serve");
}

/// What has to be done in every program of this process.
Status Guardian::prepare_process() {
  if (!signals_) signals_ = TRY(block_signals());
  protect_process();
  raise_limits();  // there may be more levels than descriptors otherwise
  raise_priority();
  return {};
}

Status Guardian::start_worker(std::string_view order) {
  WorkerProcess process = TRY(start_worker_process({side_->worker_fd(), map_.get(), control_socket_.get()}));
  worker_pid_ = process.pid;
  worker_ = std::move(process.channel);
  level_files_.forget_others();  // what the last one had opened for a change that did not come
  files_.emplace(authority_, level_files_, std::move(process.files));
  sandbox_.clear();
  if (lent_) TRY(worker_.send("lent", lent_->body));
  TRY(worker_.send(order, control::encode_attach_spec(spec_)));
  worker_.limit_sending(kWorkerPatience);
  return {};
}

/// One that asks for answers and does not read them must not hold up the guardian. A dead one is noticed by
/// its end.
void Guardian::tell_worker(std::string_view name, std::string_view body, int descriptor) {
  const Status sent = worker_.send(name, body, descriptor);
  if (sent || sent.error().sys_errno != EAGAIN || worker_pid_ <= 0) return;
  log_error("the worker does not listen; it is killed");
  ::kill(worker_pid_, SIGKILL);
}

/// What has changed is known to commands, by the state file, and to the worker, who is asked for it.
void Guardian::publish_state() {
  if (const Status saved = control::save_state(state_); !saved) log_error("{}", saved.error().message());
  tell_worker("state", control::encode_device_state(state_));
}

/// The five of our own, then what the admin socket wants.
std::vector<pollfd> Guardian::polls() const {
  const auto entry = [](int fd) { return pollfd{fd, POLLIN, 0}; };
  std::vector<pollfd> fds{entry(signals_.get()), entry(worker_.fd()), entry(side_->keeper().channel.fd()),
                          entry(answer_.get()), entry(files_ ? files_->fd() : -1)};
  admin_.add_to(fds);
  return fds;
}

/// When on_time() has something to do; nothing: not before something else happens.
std::optional<Clock::time_point> Guardian::next_deadline() const {
  std::optional<Clock::time_point> next;
  const auto consider = [&](Clock::time_point t) { next = next ? std::min(*next, t) : t; };
  if (phase_ == Phase::Starting || phase_ == Phase::Attaching) consider(start_deadline_);
  if (taking_over_) consider(take_over_deadline_);
  if (restart_at_) consider(*restart_at_);
  if (stopped_pid_ > 0) consider(stop_ends_);
  const bool on_trial = upgrade_.stage == Upgrade::Stage::Trial && upgrade_.connection == 0;
  if (upgrade_.stage == Upgrade::Stage::Retiring || on_trial) consider(upgrade_.deadline);
  return next;
}

void Guardian::on_time() {
  const auto now = Clock::now();
  const bool attaching = phase_ == Phase::Starting || phase_ == Phase::Attaching;
  if (attaching && start_deadline_ <= now)
    return end(errno_error(ExitCode::Device, ETIMEDOUT, "set up the device"));
  if (taking_over_ && take_over_deadline_ <= now) return end_take_over();
  if (restart_at_ && *restart_at_ <= now) start_replacement();
  if (stopped_pid_ > 0 && stop_ends_ <= now) end_stop();
  on_upgrade_time();
}

void Guardian::loop() {
  while (phase_ != Phase::Ended) {
    int timeout = unwanted_ ? kUnwantedPauseMs : -1;
    if (const auto deadline = next_deadline()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      timeout = static_cast<int>(std::max<std::int64_t>(left, 0));
    }
    std::vector<pollfd> fds = polls();
    const int ready = ::poll(fds.data(), fds.size(), timeout);
    if (ready < 0 && errno != EINTR) return end(errno_error(ExitCode::System, "poll"));
    if (ready == 0 && unwanted_) begin_detach();
    if (ready > 0) on_events(fds);
    on_time();
  }
}

void Guardian::on_events(std::span<const pollfd> fds) {
  if (fds[1].revents != 0) receive(worker_, [this](const Message& m) { on_worker(m); });
  if (fds[2].revents != 0) receive(side_->keeper().channel, [this](const Message& m) { on_keeper(m); });
  if (fds[3].revents != 0) on_command();
  if (fds[4].revents != 0) receive(files_->channel(), [this](const Message& m) { files_->answer(m); });
  admin_.handle(
      fds.subspan(kOwnPolls),
      [this](std::uint64_t connection, const control::Request& request) { on_admin(connection, request); },
      [this](std::uint64_t connection) { authority_.closed(connection); });
  // Signals last: what a child said before it ended has been heard by now.
  if (fds[0].revents != 0) on_signal();
}

void Guardian::on_admin(std::uint64_t connection, const control::Request& request) {
  if (request.method == "upgrade") return begin_upgrade(connection, request);
  admin_.reply(connection, request.id, run_admin(connection, request));
}

Result<std::string> Guardian::run_admin(std::uint64_t connection, const control::Request& request) {
  if (request.method == "authorize") {
    authority_.allow(connection, TRY(control::decode_permission(request.params)));
  } else if (request.method == "revoke") {
    authority_.revoke(connection);
    if (authority_.idle()) level_files_.forget_others();
  } else {
    return fail(ExitCode::Protocol, "Unknown method " + request.method);
  }
  return std::string("{}");
}

/// Hands over what a channel brought. The end of a channel is ignored: the end of the process behind it
/// follows and says more.
template <typename Handle>
void Guardian::receive(Channel& channel, Handle handle) {
  if (!channel.receive()) channel.close();
  while (std::optional<Result<Message>> message = channel.next()) {
    if (!*message) return end(message->error());
    handle(**message);
  }
}

void Guardian::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) begin_detach();
  }
  int status = 0;
  constexpr int kNews = WNOHANG | WUNTRACED | WCONTINUED;
  for (pid_t pid = ::waitpid(-1, &status, kNews); pid > 0; pid = ::waitpid(-1, &status, kNews)) {
    if (WIFSTOPPED(status)) {
      on_stopped_child(pid);
      continue;
    }
    if (pid == stopped_pid_) stop_ended();
    if (!WIFCONTINUED(status)) on_child(pid, status);
  }
}

void Guardian::on_child(pid_t pid, int status) {
  if (pid == side_->keeper().pid) {
    side_->keeper().pid = -1;
    if (phase_ == Phase::Closing || phase_ == Phase::Ended) return;
    const Error lost{ExitCode::DeviceIoctl, 0,
                     "the keeper of the block device ended: " + describe_end(status)};
    if (phase_ != Phase::Running && phase_ != Phase::Detaching) return end(lost);
    if (!replace_keeper(lost)) go_on_without_keeper(lost);
    return;
  }
  if (pid == upgrade_.asked_pid) return program_answered(status);
  if (pid != worker_pid_) return;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
    log_error(
        "the sandbox stopped the worker ({}); either that call is missing from its list or an image took it "
        "over",
        stopped_call(pid));
  }
  // What it said last counts: a commit point may be in it.
  while (worker_.open())
    receive(worker_, [this](const Message& m) { on_worker(m); });
  worker_pid_ = -1;
  if (phase_ == Phase::Ended) return;
  worker_lost_ = status != 0;
  if (phase_ == Phase::Closing) {
    if (status != 0 && replace_worker(status)) return;
    failed_ = status != 0;
    if (failed_) log_error("the worker ended while closing: {}", describe_end(status));
    phase_ = Phase::Ended;
    return;
  }
  if (on_retired(status)) return;
  // One that exits with 0 was told by the kernel that the connection is over.
  if (status != 0 && replace_worker(status)) return;
  end(Error{ExitCode::DeviceIoctl, 0, "the worker ended: " + describe_end(status)});
}

void Guardian::on_worker(const Message& message) {
  if (message.name == "ready" && phase_ == Phase::Starting) return worker_ready(message);
  if (message.name == "ready" && taking_over_) return worker_took_over(message);
  if (message.name == "error" && phase_ == Phase::Starting)
    return end(control::decode_error_object(message.body));
  if (message.name == "error" && taking_over_) {  // the next one may have more luck; its end follows
    return log_error("the new worker can't take over: {}",
                     control::decode_error_object(message.body).message());
  }
  if (on_retiring_worker(message)) return;
  if (message.name == "sandbox" && (phase_ == Phase::Starting || taking_over_)) return on_sandbox(message);
  if (message.name == "detach") return begin_detach();
  if (message.name == "chain") return change_chain(message);
  if (message.name == "resize") return worker_resized(message);
  if (message.name == "lent") return void(lent_.emplace(Message{message.name, message.body, {}}));
  if (message.name == "returned") return lent_.reset();
  log_error("unexpected message from the worker: {}", message.name);
}

/// The descriptor goes on to the worker, or waits for one that is yet to be started; nobody else keeps it,
/// since its end is what tells the kernel of a worker's.
void Guardian::give_server(const Message& message) {
  if (!restart_at_) {
    tell_worker("server", message.body, message.descriptor.get());
    return;
  }
  Result<Fd> copy = duplicate(message.descriptor);
  if (!copy) return end(copy.error());
  server_for_next_ = Message{message.name, message.body, *std::move(copy)};
}

/// It says so before it reads an image; later it may be somebody else who speaks.
void Guardian::on_sandbox(const Message& message) {
  const Result<Json> json = control::parse_object(message.body, "worker");
  Result<std::vector<std::string>> parts = json ? control::strings_field(*json, "parts") : fail(json.error());
  if (parts && sandbox_.empty()) sandbox_ = *std::move(parts);
}

void Guardian::worker_ready(const Message& message) {
  Result<control::DeviceState> state = control::decode_device_state(message.body);
  if (!state) return end(state.error());
  state_ = *std::move(state);
  state_.deltas = spec_.deltas;
  if (const Status attaching = side_->attach(state_); !attaching) return end(attaching.error());
  phase_ = Phase::Attaching;
}

/// The worker holds the device, and everything is durable in the images. Until the answer it does nothing, so
/// that what this process knows of the chain is what the descriptor says.
void Guardian::change_chain(const Message& message) {
  Result<control::ChainState> next = control::decode_chain_state(message.body);
  Status passed = next ? authority_.may_become(*next) : fail(next.error());
  if (!passed) log_error("refused: {}", passed.error().message());
  if (passed) passed = level_files_.identify(*next);
  if (passed) passed = reserve_state(*next);
  if (passed) passed = pass_commit_point(*next);
  if (passed) {
    authority_.passed(next->commit);
    spec_.deltas = state_.deltas = next->deltas;
    level_files_.forget_others();
    spec_.merging = next->merging;
    state_.size_sectors = next->size_sectors;
    publish_state();
  }
  tell_worker("chain", control::encode_outcome(passed));
}

/// Commands believe what the state file says: a change that it can't say is not made.
Status Guardian::reserve_state(const control::ChainState& next) const {
  control::DeviceState then = state_;
  then.deltas = next.deltas;
  then.size_sectors = next.size_sectors;
  return control::reserve_state(then);
}

Status Guardian::pass_commit_point(const control::ChainState& next) {
  const control::CommitPoint& commit = next.commit;
  if (commit.empty()) return {};
  if (::rename(commit.from.c_str(), commit.to.c_str()) != 0)
    return fail_errno(ExitCode::Rename, "rename " + commit.from);
  // Renamed is changed, whatever follows: a failing sync leaves the new name in place.
  if (const Status synced = sync_parent_directory(commit.to); !synced)
    log_error("{}", synced.error().message());
  return {};
}

void Guardian::on_keeper(const Message& message) {
  if (message.name == "resized") return size_told(message);
  if (message.name == "server") {
    if (side_->is_for_worker(message)) give_server(message);
    return;
  }
  if (message.name == "attached" && phase_ == Phase::Attaching) return device_attached(message);
  if (message.name == "error") return end(control::decode_error_object(message.body));
  if (phase_ == Phase::Detaching && message.name == "releasing") {
    tell_worker("releasing");
    return;
  }
  if (phase_ == Phase::Detaching && message.name == "busy") {
    phase_ = Phase::Running;
    tell_worker("busy");
    return;
  }
  if (phase_ == Phase::Detaching && message.name == "released") {
    return close(message.body);
  }
  log_error("unexpected message from the keeper: {}", message.name);
}

void Guardian::device_attached(const Message& message) {
  const auto fill = [&]() -> Status {
    const Json json = TRY(control::parse_object(message.body, "keeper"));
    state_.backing_device = TRY(control::string_field(json, "path"));
    state_.major = TRY(control::number_field<std::uint32_t>(json, "major"));
    state_.minor = TRY(control::number_field<std::uint32_t>(json, "minor"));
    if (!TRY(control::bool_field(json, "direct_io"))) {
      log_error("{} has no direct I/O: data is kept twice in memory", state_.backing_device);
    }
    state_.number = claim_->number();
    state_.guardian_pid = ::getpid();
    state_.guardian_start = control::process_start_time(::getpid());
    state_.worker_pid = worker_pid_;
    state_.sandbox = sandbox_;
    state_.sandbox_required = spec_.require_sandbox;
    state_.on_enospc = spec_.on_enospc;
    state_.transport = spec_.transport;
    state_.component = spec_.component;
    state_.descriptor = spec_.descriptor;
    if (!spec_.descriptor.empty()) state_.place = file_id(directory_of(spec_.descriptor));
    state_.deltas = spec_.deltas;
    state_.read_only = spec_.read_only;
    state_.program = version_;
    return control::save_state(state_);
  };
  if (const Status filled = fill(); !filled) return end(filled.error());
  const std::string state = control::encode_device_state(state_);
  if (!worker_.send("attached", state)) return;  // its end is noticed
  phase_ = Phase::Running;
  served_ = true;
  worker_since_ = Clock::now();
  lock_memory();
  answer("{\"state\":" + state + "}");
}

/// The block device is gone; the worker's requests end, it closes the images and exits.
void Guardian::close(const std::string& released) {
  phase_ = Phase::Closing;
  tell_worker("released", released);
  side_->let_go();
}

void Guardian::begin_detach() {
  if (phase_ == Phase::Running) {
    phase_ = Phase::Detaching;
    ignore(side_->keeper().channel.send("release"), "a dead keeper is noticed by its end");
  } else if (phase_ == Phase::Starting || phase_ == Phase::Attaching) {
    end(Error{ExitCode::System, 0, "interrupted"});
  }
}

/// The device can't be started, or can't go on.
void Guardian::end(const Error& error) {
  if (phase_ == Phase::Ended) return;
  phase_ = Phase::Ended;
  failed_ = true;
  if (claim_) log_error("{}", error.message());  // before, stderr is the command's, who gets the answer
  answer(control::encode_outcome(fail(error)));
}

void Guardian::tear_down() {
  // Letting go of the kernel's end ends the device: whoever waits for an answer gets an error. So children
  // first, by signal, then the kernel's end, and only then waiting for the children, who may have been
  // waiting for answers.
  if (worker_pid_ > 0) ::kill(worker_pid_, SIGKILL);
  server_for_next_.reset();
  if (side_) side_->abandon();
  if (worker_pid_ > 0) worker_lost_ = wait_for_child(worker_pid_) != 0;
  const bool all_gone = !side_ || side_->wait_for_keeper();
  if (!claim_) return;
  if (worker_lost_ && served_ && !spec_.read_only) rescue_data();
  if (worker_crashed_ && !failed_) {
    ::rename(control::log_path(claim_->number()).c_str(), control::crash_log_path(claim_->number()).c_str());
  }
  if (failed_ && served_) {
    ::rename(control::log_path(claim_->number()).c_str(), control::failed_log_path(claim_->number()).c_str());
  }
  if (!all_gone) return;
  if (const Status released = claim_->release(); !released) log_error("{}", released.error().message());
}

/// The connection is closed and nobody can write any more: what the worker acknowledged and did not commit is
/// put into the image now, before anybody else may open it.
void Guardian::rescue_data() {
  std::optional<std::size_t> lent;
  if (lent_) {
    if (const Result<std::size_t> level = lent_level(*lent_)) lent = *level;
  }
  if (const Status saved = salvage_in_child(spec_, level_files_, map_, lent); !saved) {
    log_error("{}; unflushed writes may be missing", saved.error().message());
    return;
  }
  log(LogLevel::Progress, "everything that was acknowledged is in the image");
}

void Guardian::answer(const std::string& line) {
  if (!answer_) return;
  if (!write_all(answer_.get(), line + "\n", "answer")) end_unwanted();
}

/// A byte: the device shall live on. The end: the command died, or does not want the device.
void Guardian::on_command() {
  char byte = 0;
  const ssize_t n = ::read(answer_.get(), &byte, 1);
  if (n < 0 && errno == EINTR) return;
  if (n == 1 && byte == control::kKeepDevice) return answer_.reset();
  end_unwanted();
}

/// While somebody still has it open, tries again and again.
void Guardian::end_unwanted() {
  answer_.reset();
  unwanted_ = true;
  begin_detach();
}

}  // namespace ploop::daemon
