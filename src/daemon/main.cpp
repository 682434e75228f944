// ploopd: serves one device. Without arguments it is the guardian: it reads an attach order from its standard input and writes
// one line of JSON, the result, to its standard output. People don't start it; `ploop mount` does.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <new>
#include <string_view>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "control/attach_spec.hpp"
#include "control/protocol.hpp"
#include "daemon/guardian.hpp"
#include "daemon/worker.hpp"

namespace ploop::daemon {
namespace {

constexpr std::size_t kMaxOrder = 8u << 20;

constexpr const char* kHelp =
    "Usage: ploopd [--help | --version]\n"
    "\n"
    "Serves one ploop device. Started by `ploop mount` and the like, not by hand: reads an attach\n"
    "order (one line of JSON) from standard input, writes one line with the result to standard\n"
    "output, then serves until the device is detached. Messages go to the device's log in\n"
    "$PLOOP_RUNDIR (default /run/ploop).\n";

/// Messages for the log file, one line each: time, who, text.
void log_to_stderr(const char* who) {
  set_log_sink([who](LogLevel level, const std::string& line) {
    if (level > LogLevel::Detail) return;
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    char stamp[32];
    std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S%z", &parts);
    const std::string text = fmt::format("{} {}[{}]: {}\n", stamp, who, ::getpid(), line);
    ignore(write_all(STDERR_FILENO, text, "log"), "there is nowhere else to complain");
  });
}

/// Whoever started us: its session, directory, descriptors and terminal are none of our business.
void leave_caller() {
  ::setsid();
  ::umask(022);  // what the device's directory is made with
  if (::chdir("/") != 0) log_error("chdir: {}", errno);
  ::close_range(STDERR_FILENO + 1, ~0u, 0);
  // A closed standard descriptor would be taken by the next file that is opened.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", O_RDWR);
  }
}

int run_guardian() {
  leave_caller();
  const Result<std::string> order = read_all(STDIN_FILENO, kMaxOrder, "attach order");
  Result<control::AttachSpec> spec = order ? control::decode_attach_spec(*order) : fail(Error(order.error()));
  Fd answer{::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
  const Fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(null.get(), STDOUT_FILENO);
  if (!spec) {
    ignore(write_all(answer.get(), "{\"error\":" + control::encode_error_object(spec.error()) + "}\n", "answer"),
           "nobody waits");
    return 1;
  }
  return Guardian(*std::move(spec), std::move(answer)).run();
}

}  // namespace
}  // namespace ploop::daemon

int main(int argc, char** argv) {
  using namespace ploop;
  using namespace ploop::daemon;
  const std::string_view argument = argc > 1 ? argv[1] : "";
  if (argument == "--help") return std::fputs(kHelp, stdout) < 0;
  if (argument == "--version") return std::printf("ploopd %s\n", PLOOP_VERSION) < 0;
  const bool worker = argument == "worker" && argc == 2;
  if (!worker && argc > 1) {
    std::fputs("ploopd: unknown argument; see --help\n", stderr);
    return static_cast<int>(ExitCode::Param);
  }
  // Started through /proc/self/exe a process is called "exe".
  ::prctl(PR_SET_NAME, "ploopd");
  log_to_stderr(worker ? "worker" : "guardian");
  try {
    return worker ? run_worker() : run_guardian();
  } catch (const std::bad_alloc&) {
    log_error("out of memory");
    return static_cast<int>(ExitCode::Malloc);
  }
}
