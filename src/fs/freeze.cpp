#include "fs/freeze.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.hpp"
#include "base/subprocess.hpp"

namespace ploop::fs {
namespace {

/// What the guard says over the channel: the errno of freezing, later how it ended.
enum class Ended : int { OnRequest = 0, TooLate = 1 };

void tell(int channel, int value) {
  // A command that died does not listen; that is no reason to die before the thaw.
  if (::send(channel, &value, sizeof value, MSG_NOSIGNAL) < 0) return;
}

/// The guard's whole life, between fork and _exit: system calls only. Nothing here may touch the frozen file
/// system, nor keep open what the command had open.
[[noreturn]] void guard(int directory, int channel, int null, int limit_ms) {
  ::setsid();  // a Ctrl-C for the command is not for its guard
  for (const int fd : {0, 1, 2})
    ::dup2(null, fd);
  const int keep_low = std::min(directory, channel);
  const int keep_high = std::max(directory, channel);
  if (keep_low > 3) ::close_range(3, static_cast<unsigned>(keep_low) - 1, 0);
  if (keep_high > keep_low + 1)
    ::close_range(static_cast<unsigned>(keep_low) + 1, static_cast<unsigned>(keep_high) - 1, 0);
  ::close_range(static_cast<unsigned>(keep_high) + 1, ~0U, 0);
  const int error = ::ioctl(directory, FIFREEZE, 0) == 0 ? 0 : errno;
  tell(channel, error);
  if (error != 0) ::_exit(0);
  pollfd wait{channel, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&wait, 1, limit_ms);
  } while (ready < 0 && errno == EINTR);
  const int thawed = ::ioctl(directory, FITHAW, 0) == 0 ? 0 : errno;
  // EINVAL: somebody else thawed it meanwhile.
  tell(channel, static_cast<int>(ready == 1 && thawed == 0 ? Ended::OnRequest : Ended::TooLate));
  ::_exit(0);
}

/// One number from the guard; nothing when it died.
bool hear(int channel, int* value) {
  ssize_t n = 0;
  do {
    n = ::recv(channel, value, sizeof *value, MSG_WAITALL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof *value);
}

}  // namespace

Freeze::Freeze(std::string name, pid_t guard, Fd channel)
    : name_(std::move(name)), guard_(guard), channel_(std::move(channel)) {}

Freeze::Freeze(Freeze&& other) noexcept
    : name_(std::move(other.name_)),
      guard_(std::exchange(other.guard_, -1)),
      channel_(std::move(other.channel_)) {}

Freeze::~Freeze() {
  if (const Status thawed = thaw(); !thawed) log_error("{}", thawed.error().message());
}

Result<Freeze> Freeze::hold(int directory, const std::string& name, std::chrono::milliseconds limit) {
  const Fd null = TRY(open_file("/dev/null", O_RDWR, 0, ExitCode::System));
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno(ExitCode::System, "socketpair");
  Fd ours{ends[0]};
  Fd theirs{ends[1]};
  // Signals stay blocked in the guard: only the command's end or its word ends it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) guard(directory, theirs.get(), null.get(), static_cast<int>(limit.count()));
  const int err = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail(errno_error(ExitCode::System, err, "fork"));
  theirs.reset();
  int error = 0;
  if (!hear(ours.get(), &error)) error = ECHILD;
  if (error != 0) {
    wait_for_child(pid);
    return fail(errno_error(error == EBUSY ? ExitCode::Busy : ExitCode::System, error,
                            "freeze the file system at " + name));
  }
  return Freeze(name, pid, std::move(ours));
}

Status Freeze::thaw() {
  if (guard_ < 0) return {};
  const pid_t pid = std::exchange(guard_, -1);
  tell(channel_.get(), 0);
  int ended = 0;
  const bool heard = hear(channel_.get(), &ended);
  wait_for_child(pid);
  channel_.reset();
  if (heard && ended == static_cast<int>(Ended::OnRequest)) return {};
  return fail(ExitCode::Busy, "The file system at " + name_ +
                                  " was thawed before the work on it was complete: the host is too slow or "
                                  "somebody interfered; repeat the command");
}

}  // namespace ploop::fs
