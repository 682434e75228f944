#include "daemon/guardian.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/json.hpp"
#include "control/process.hpp"
#include "control/protocol.hpp"
#include "daemon/keeper.hpp"
#include "daemon/live_map.hpp"
#include "daemon/safety.hpp"
#include "daemon/salvage.hpp"
#include "daemon/worker.hpp"

namespace ploop::daemon {
namespace {

using Clock = std::chrono::steady_clock;
using control::Json;

/// Shorter than the command's patience, so that it hears a reason.
constexpr auto kStartTimeout = std::chrono::seconds(50);
/// A new worker waits for the dead one's I/O and reads the tables; longer than this it hangs. Below the kernel's patience with
/// waiting processes.
constexpr auto kTakeOverTimeout = std::chrono::seconds(90);
/// A worker that dies sooner than this after it began counts as one that can't live.
constexpr auto kSoon = std::chrono::milliseconds(300);
constexpr unsigned kMostQuickDeaths = 10;
/// Between attempts to end a device that nobody wants.
constexpr int kUnwantedPauseMs = 200;

Result<Fd> block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&set, signal);
  ::sigprocmask(SIG_SETMASK, &set, nullptr);
  Fd fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!fd) return fail_errno(ExitCode::System, "make a signalfd");
  return fd;
}

std::string describe(int status) {
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

/// In the worker's process, before exec: the four descriptors at their numbers and nothing else.
[[noreturn]] void become_worker(const int (&fds)[kWorkerFds], int parent) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) ::signal(signal, SIG_IGN);  // the guardian decides
  int high[kWorkerFds];
  for (int i = 0; i < kWorkerFds; ++i) high[i] = ::fcntl(fds[i], F_DUPFD, 16);
  for (int i = 0; i < kWorkerFds; ++i) ::dup2(high[i], kFirstWorkerFd + i);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::close_range(kFirstWorkerFd + kWorkerFds, ~0u, 0);
  if (die_with_parent(parent)) ::execl("/proc/self/exe", "ploopd", "worker", static_cast<char*>(nullptr));
  ::_exit(127);
}

void reap(pid_t pid) {
  while (pid > 0 && ::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
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
  signals_ = TRY(block_signals());
  if (spec_.transport != "fuse") return fail(ExitCode::Param, "Unknown transport " + spec_.transport);
  claim_ = TRY(control::DeviceClaim::take(spec_.device_number));
  const int number = claim_->number();
  const Fd log_file = TRY(open_file(control::log_path(number), O_WRONLY | O_CREAT | O_APPEND, 0600, ExitCode::Create));
  if (::dup2(log_file.get(), STDERR_FILENO) < 0) return fail_errno(ExitCode::System, "redirect messages");
  protect_process();  // complains into the log, not on the caller's terminal
  map_ = TRY(make_map_file(number));
  control_socket_ = TRY(control::listen_at(control::control_path(number)));
  connection_ = TRY(transport::fuse::open_connection());
  return start_worker("serve");
}

Status Guardian::start_worker(std::string_view order) {
  auto ends = TRY(Channel::pair());
  const pid_t parent = ::getpid();
  const int fds[kWorkerFds] = {ends.second.fd(), connection_.device.get(), map_.get(), control_socket_.get()};
  worker_pid_ = ::fork();
  if (worker_pid_ < 0) return fail_errno(ExitCode::System, "fork");
  if (worker_pid_ == 0) become_worker(fds, parent);
  worker_ = std::move(ends.first);
  return worker_.send(order, control::encode_attach_spec(spec_));
}

void Guardian::loop() {
  while (phase_ != Phase::Ended) {
    pollfd fds[4] = {{signals_.get(), POLLIN, 0}, {worker_.fd(), POLLIN, 0}, {keeper_.fd(), POLLIN, 0}, {answer_.get(), POLLIN, 0}};
    int timeout = unwanted_ ? kUnwantedPauseMs : -1;
    if (phase_ == Phase::Starting || phase_ == Phase::Attaching) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(start_deadline_ - Clock::now()).count();
      if (left <= 0) return end(errno_error(ExitCode::Device, ETIMEDOUT, "set up the device"));
      timeout = static_cast<int>(left);
    }
    if (taking_over_) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(take_over_deadline_ - Clock::now()).count();
      if (left <= 0) return end(errno_error(ExitCode::DeviceIoctl, ETIMEDOUT, "replace the dead worker"));
      timeout = static_cast<int>(left);
    }
    const int ready = ::poll(fds, 4, timeout);
    if (ready < 0 && errno != EINTR) return end(errno_error(ExitCode::System, "poll"));
    if (ready == 0 && unwanted_) begin_detach();
    if (fds[1].revents != 0) receive(worker_, [this](const Message& m) { on_worker(m); });
    if (fds[2].revents != 0) receive(keeper_, [this](const Message& m) { on_keeper(m); });
    if (fds[3].revents != 0) on_command();
    // Signals last: what a child said before it ended has been heard by now.
    if (fds[0].revents != 0) on_signal();
  }
}

/// Hands over what a channel brought. The end of a channel is ignored: the end of the process behind it follows and says more.
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
  for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG)) {
    on_child(pid, status);
  }
}

void Guardian::on_child(pid_t pid, int status) {
  if (pid == keeper_pid_) {
    keeper_pid_ = -1;
    if (phase_ == Phase::Closing || phase_ == Phase::Ended) return;
    const Error lost{ExitCode::DeviceIoctl, 0, "the keeper of the loop device ended: " + describe(status)};
    if (phase_ != Phase::Running && phase_ != Phase::Detaching) return end(lost);
    // The loop device clears itself as soon as nobody uses it, and until then it works. So does the worker.
    log_error("{}; the device ends when it is not used any more", lost.message());
    return close("{}");
  }
  if (pid != worker_pid_) return;
  // What it said last counts: a commit point may be in it.
  while (worker_.open()) receive(worker_, [this](const Message& m) { on_worker(m); });
  worker_pid_ = -1;
  if (phase_ == Phase::Ended) return;
  worker_lost_ = WIFSIGNALED(status);
  if (phase_ == Phase::Closing) {
    failed_ = status != 0;
    if (failed_) log_error("the worker ended while closing: {}", describe(status));
    phase_ = Phase::Ended;
    return;
  }
  // One that exits with 0 was told by the kernel that the connection is over.
  if (status != 0 && replace_worker(describe(status))) return;
  end(Error{ExitCode::DeviceIoctl, 0, "the worker ended: " + describe(status)});
}

/// False: not possible, or not any more.
bool Guardian::replace_worker(const std::string& why) {
  const bool serving = phase_ == Phase::Running || phase_ == Phase::Detaching;
  if (!serving || !state_.can_resend) return false;
  const bool quick = taking_over_ || Clock::now() - worker_since_ < kSoon;
  quick_deaths_ = quick ? quick_deaths_ + 1 : 0;
  if (quick_deaths_ > kMostQuickDeaths) {
    log_error("workers keep dying; the device ends");
    return false;
  }
  log_error("the worker ended: {}; another one takes over", why);
  if (const Status started = start_worker("take_over"); !started) {
    log_error("{}", started.error().message());
    return false;
  }
  taking_over_ = true;
  take_over_deadline_ = Clock::now() + kTakeOverTimeout;
  return true;
}

/// The new worker serves. What it has to know besides the order is said again.
void Guardian::worker_took_over() {
  taking_over_ = false;
  worker_lost_ = false;
  worker_since_ = Clock::now();
  state_.worker_pid = worker_pid_;
  if (const Status saved = control::save_state(state_); !saved) log_error("{}", saved.error().message());
  ignore(worker_.send("attached", control::encode_device_state(state_)), "a dead worker is noticed by its end");
  // The size may have been changed and not yet been told to the kernel.
  if (phase_ == Phase::Running) ignore(keeper_.send("resize"), "a dead keeper is noticed by its end");
  if (phase_ == Phase::Detaching) ignore(worker_.send("releasing"), "a dead worker is noticed by its end");
}

void Guardian::on_worker(const Message& message) {
  if (message.name == "ready" && phase_ == Phase::Starting) return worker_ready(message);
  if (message.name == "ready" && taking_over_) return worker_took_over();
  if (message.name == "error" && (phase_ == Phase::Starting || taking_over_)) return end(control::decode_error_object(message.body));
  if (message.name == "detach") return begin_detach();
  if (message.name == "chain") return change_chain(message);
  if (message.name == "resize") {
    ignore(keeper_.send("resize"), "a dead keeper is noticed by its end");
    return;
  }
  log_error("unexpected message from the worker: {}", message.name);
}

void Guardian::worker_ready(const Message& message) {
  Result<control::DeviceState> state = control::decode_device_state(message.body);
  if (!state) return end(state.error());
  state_ = *std::move(state);
  Result<KeeperProcess> keeper = start_keeper(connection_.mount, spec_.read_only);
  if (!keeper) return end(keeper.error());
  keeper_pid_ = keeper->pid;
  keeper_ = std::move(keeper->channel);
  phase_ = Phase::Attaching;
}

/// The worker holds the device, and everything is durable in the images. Until the answer it does nothing, so that what this
/// process knows of the chain is what the descriptor says.
void Guardian::change_chain(const Message& message) {
  Result<control::ChainState> next = control::decode_chain_state(message.body);
  const Status passed = next ? pass_commit_point(*next) : fail(next.error());
  if (passed) {
    spec_.deltas = state_.deltas = next->deltas;
    spec_.merging = next->merging;
    state_.size_sectors = next->size_sectors;
    if (const Status saved = control::save_state(state_); !saved) log_error("{}", saved.error().message());
    ignore(worker_.send("state", control::encode_device_state(state_)), "a dead worker is noticed by its end");
  }
  const std::string body = passed ? "{}" : "{\"error\":" + control::encode_error_object(passed.error()) + "}";
  ignore(worker_.send("chain", body), "a dead worker is noticed by its end");
}

Status Guardian::pass_commit_point(const control::ChainState& next) {
  const control::CommitPoint& commit = next.commit;
  if (commit.empty()) return {};
  if (::rename(commit.from.c_str(), commit.to.c_str()) != 0) return fail_errno(ExitCode::Rename, "rename " + commit.from);
  // Renamed is changed, whatever follows: a failing sync leaves the new name in place.
  if (const Status synced = sync_parent_directory(commit.to); !synced) log_error("{}", synced.error().message());
  return {};
}

void Guardian::on_keeper(const Message& message) {
  if (message.name == "resized") {
    ignore(worker_.send("resized", message.body), "a dead worker is noticed by its end");
    return;
  }
  if (phase_ == Phase::Attaching) {
    if (message.name == "attached") return loop_attached(message);
    if (message.name == "error") return end(control::decode_error_object(message.body));
  }
  if (phase_ == Phase::Detaching && message.name == "releasing") {
    ignore(worker_.send("releasing"), "a dead worker is noticed by its end");
    return;
  }
  if (phase_ == Phase::Detaching && message.name == "busy") {
    phase_ = Phase::Running;
    ignore(worker_.send("busy"), "a dead worker is noticed by its end");
    return;
  }
  if (phase_ == Phase::Detaching && message.name == "released") {
    return close(message.body);
  }
  log_error("unexpected message from the keeper: {}", message.name);
}

void Guardian::loop_attached(const Message& message) {
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
    state_.transport = spec_.transport;
    state_.component = spec_.component;
    state_.descriptor = spec_.descriptor;
    state_.deltas = spec_.deltas;
    state_.read_only = spec_.read_only;
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

/// Our reference to the mount goes. With the loop device's, the last one, the kernel ends the connection; the worker reads
/// ENODEV, closes the images and exits.
void Guardian::close(const std::string& released) {
  phase_ = Phase::Closing;
  ignore(worker_.send("released", released), "a dead worker is noticed by its end");
  connection_.mount.reset();
}

void Guardian::begin_detach() {
  if (phase_ == Phase::Running) {
    phase_ = Phase::Detaching;
    ignore(keeper_.send("release"), "a dead keeper is noticed by its end");
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
  answer("{\"error\":" + control::encode_error_object(error) + "}");
}

void Guardian::tear_down() {
  // Closing the last /dev/fuse ends the connection: whoever waits for an answer gets an error. So children first, by signal,
  // then our own descriptors, and only then waiting for the children, who may have been waiting for answers.
  for (const pid_t pid : {worker_pid_, keeper_pid_}) {
    if (pid > 0) ::kill(pid, SIGKILL);
  }
  connection_ = {};
  reap(worker_pid_);
  reap(keeper_pid_);
  if (!claim_) return;
  if (worker_lost_ && served_ && !spec_.read_only) rescue_data();
  if (failed_ && served_) {
    const std::string kept = device_run_directory(claim_->number()) + ".failed.log";
    ::rename(control::log_path(claim_->number()).c_str(), kept.c_str());
  }
  if (const Status released = claim_->release(); !released) log_error("{}", released.error().message());
}

/// The connection is closed and nobody can write any more: what the worker acknowledged and did not commit is put into the
/// image now, before anybody else may open it.
void Guardian::rescue_data() {
  if (const Status saved = salvage_in_child(spec_, map_); !saved) {
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
