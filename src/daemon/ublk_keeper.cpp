#include "daemon/ublk_keeper.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/safety.hpp"
#include "daemon/server_message.hpp"
#include "transport/ublk/device.hpp"

namespace ploop::daemon {
namespace {

using transport::ublk::Device;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kChannelFd = 3;
/// While something waits in the kernel, this often a look at what the guardian says.
constexpr milliseconds kSlice{100};
constexpr int kRecoveryPauseMs = 2;

/// Writing back what buffered writers left waits for the worker, and for its successor if it dies, so a child
/// does it.
class Flush {
 public:
  [[nodiscard]] bool running() const { return pid_ > 0; }
  [[nodiscard]] int fd() const { return done_.get(); }
  Status start(Fd disk) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(ExitCode::System, "make a pipe");
    done_ = Fd{ends[0]};
    Fd report{ends[1]};
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) return fail_errno(ExitCode::System, "fork");
    if (pid_ == 0) {
      ::close(kChannelFd);
      if (!die_with_parent(parent)) ::_exit(EINTR);
      ::_exit(::fsync(disk.get()) == 0 ? 0 : errno);
    }
    disk_ = std::move(disk);
    return {};
  }
  /// The child has ended, or is about to: the disk, still claimed, and what the flush said.
  std::pair<Fd, Status> finish() {
    const int status = wait_for_child(pid_);
    pid_ = -1;
    done_.reset();
    const int error = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    Status written;
    if (error != 0) written = fail(errno_error(ExitCode::Fsync, error, "write back the device"));
    return {std::move(disk_), std::move(written)};
  }

 private:
  pid_t pid_ = -1;
  Fd done_;
  Fd disk_;
};

class UblkKeeper {
 public:
  UblkKeeper(Channel guardian, const UblkKeeperOrder& order)
      : guardian_(std::move(guardian)), order_(order) {}
  int run();

 private:
  Result<Device> make();
  Status give_server();
  void serve();
  std::optional<Message> next(int other_fd, int timeout_ms);
  void handle(const Message& message);
  void start(const Message& message);
  void replace(const Message& message);
  bool wait_for_end_of_old();
  void wait_for_new();
  void resize(const Message& message);
  void release();
  void flushed();
  void end();
  void tell(std::string_view name, const std::string& body = "{}") {
    ignore(guardian_.send(name, body), "the end of the guardian is noticed as the end of the channel");
  }

  Channel guardian_;
  UblkKeeperOrder order_;
  std::optional<Device> device_;
  std::deque<Message> waiting_;  ///< came while something else was going on
  Flush flush_;
  std::uint64_t generation_ = 0;
  bool stopped_ = false;
};

int UblkKeeper::run() {
  Result<Device> device = make();
  if (!device) {
    tell("error", control::encode_error_object(device.error()));
    return 1;
  }
  device_ = *std::move(device);
  if (!order_.adopt) {
    if (const Status given = give_server(); !given)
      tell("error", control::encode_error_object(given.error()));
  }
  serve();
  end();
  return 0;
}

Result<Device> UblkKeeper::make() {
  transport::ublk::Control control = TRY(transport::ublk::Control::open());
  if (order_.adopt) return Device::find(std::move(control), order_.token);
  return Device::add(std::move(control), order_.token, order_.path);
}

/// Our copy goes at once: the file is open once more only in the message, and then in the worker.
Status UblkKeeper::give_server() {
  const Fd file = TRY(device_->open_server());
  return guardian_.send("server", encode_server({device_->geometry(), generation_}), file.get());
}

/// The next message; nothing when the other descriptor is ready, at the timeout or at the end of the channel
/// (then it is closed).
std::optional<Message> UblkKeeper::next(int other_fd, int timeout_ms) {
  for (;;) {
    if (std::optional<Result<Message>> message = guardian_.next()) {
      if (*message) return **std::move(message);
      continue;
    }
    if (!guardian_.open()) return std::nullopt;
    pollfd fds[2] = {{guardian_.fd(), POLLIN, 0}, {other_fd, POLLIN, 0}};
    const int ready = ::poll(fds, 2, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || fds[0].revents == 0) return std::nullopt;
    if (!guardian_.receive()) guardian_.close();
  }
}

void UblkKeeper::serve() {
  while (guardian_.open()) {
    if (!waiting_.empty()) {
      const Message message = std::move(waiting_.front());
      waiting_.pop_front();
      handle(message);
      continue;
    }
    if (const std::optional<Message> message = next(flush_.fd(), -1)) {
      handle(*message);
    } else if (flush_.running() && guardian_.open()) {
      flushed();
    }
  }
}

void UblkKeeper::handle(const Message& message) {
  if (message.name == "start") return start(message);
  if (message.name == "replace") return replace(message);
  if (message.name == "resize") return resize(message);
  if (message.name == "release") return release();
  log_error("unexpected message to the keeper: {}", message.name);
}

void UblkKeeper::start(const Message& message) {
  const auto started = [&]() -> Status {
    const control::Json json = TRY(control::parse_object(message.body, "guardian"));
    transport::ublk::Disk disk;
    disk.sectors = TRY(control::unsigned_field(json, "sectors"));
    disk.discard_granularity = TRY(control::number_field<std::uint32_t>(json, "granularity"));
    disk.read_only = order_.read_only;
    return device_->start(disk);
  }();
  if (!started) return tell("error", control::encode_error_object(started.error()));
  tell("attached", control::to_line(control::Json{{"path", device_->path()},
                                                  {"major", major(device_->number())},
                                                  {"minor", minor(device_->number())},
                                                  {"direct_io", true}}));
}

/// Only the newest request for a server counts; an older one's worker is dead, too.
void UblkKeeper::replace(const Message& message) {
  const Result<control::Json> json = control::parse_object(message.body, "guardian");
  const Result<std::uint64_t> generation =
      json ? control::unsigned_field(*json, "generation") : fail(json.error());
  if (!generation || stopped_) return;
  generation_ = *generation;
  if (!wait_for_end_of_old()) return;
  if (const Status given = give_server(); !given)
    return tell("error", control::encode_error_object(given.error()));
  wait_for_new();
}

/// False: not any more necessary, or it failed.
bool UblkKeeper::wait_for_end_of_old() {
  for (;;) {
    const Result<bool> begun = device_->begin_recovery();
    if (!begun) {
      tell("error", control::encode_error_object(begun.error()));
      return false;
    }
    if (*begun) return true;
    if (std::optional<Message> message = next(-1, kRecoveryPauseMs)) {
      const bool newer = message->name == "replace";
      waiting_.push_back(*std::move(message));
      if (newer) return false;
    }
    if (!guardian_.open()) return false;
  }
}

/// The kernel is asked before the worker has fetched: from its last fetch on, requests go to it, and should
/// it die just then, that is a death like any other.
void UblkKeeper::wait_for_new() {
  for (;;) {
    const Result<bool> finished = device_->finish_recovery(kSlice);
    if (!finished) return tell("error", control::encode_error_object(finished.error()));
    if (*finished) return;
    if (std::optional<Message> message = next(-1, 0)) {
      const bool newer = message->name == "replace";
      waiting_.push_back(*std::move(message));
      if (newer) return;
    }
    if (!guardian_.open()) return;
  }
}

void UblkKeeper::resize(const Message& message) {
  const auto resized = [&]() -> Status {
    const control::Json json = TRY(control::parse_object(message.body, "guardian"));
    const std::uint64_t sectors = TRY(control::unsigned_field(json, "sectors"));
    if (stopped_ || sectors == TRY(device_->sectors())) return {};
    return device_->resize(sectors);
  }();
  tell("resized", control::encode_outcome(resized));
}

void UblkKeeper::release() {
  if (flush_.running()) return;
  if (stopped_) return tell("released");
  Result<Fd> disk = device_->claim();
  if (!disk) log_error("{}", disk.error().message());
  if (!disk || !disk->valid()) return tell("busy");
  tell("releasing");
  if (const Status started = flush_.start(*std::move(disk)); !started) {
    log_error("{}", started.error().message());
    tell("busy");
  }
}

/// A failed write-back is reported, but the device goes: nobody has it open, and trying again would not help.
void UblkKeeper::flushed() {
  auto [disk, written] = flush_.finish();
  const Result<bool> stopped = device_->stop_unused(std::move(disk));
  if (!stopped) log_error("{}", stopped.error().message());
  if (!stopped || !*stopped) return tell("busy");
  stopped_ = true;
  tell("released", control::encode_outcome(written));
}

/// The guardian wants the end, or is dead: then the worker is, too.
void UblkKeeper::end() {
  if (!stopped_) {
    if (const Status stopped = device_->stop(); !stopped) log_error("{}", stopped.error().message());
  }
  if (flush_.running()) flush_.finish();
  if (const Status removed = device_->remove(); !removed) log_error("{}", removed.error().message());
}

}  // namespace

Result<KeeperProcess> start_ublk_keeper(const UblkKeeperOrder& order) {
  auto ends = TRY(Channel::pair());
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid > 0) return KeeperProcess{pid, std::move(ends.first)};
  // Nothing of the guardian stays open here: its end must be seen as the end of the channel, and of what it
  // locks.
  const int channel = ::fcntl(ends.second.fd(), F_DUPFD, 16);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::dup2(channel, kChannelFd);
  ::close_range(kChannelFd + 1, ~0u, 0);
  ::_exit(UblkKeeper(Channel(Fd{kChannelFd}), order).run());
}

}  // namespace ploop::daemon
