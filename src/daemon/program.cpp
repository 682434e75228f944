// Without arguments ploopd is the guardian: it reads an attach order from its standard input and writes
// one line of JSON, the result, to its standard output. People don't start it; `ploop mount` does.
#include "daemon/program.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <ctime>
#include <new>
#include <optional>
#include <string_view>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "control/attach_spec.hpp"
#include "control/protocol.hpp"
#include "daemon/guardian.hpp"
#include "daemon/handover.hpp"
#include "daemon/safety.hpp"
#include "daemon/worker.hpp"
#include "transport/ublk/control.hpp"

namespace ploop::daemon {
namespace {

constexpr std::size_t kMaxOrder = 8u << 20;

constexpr const char* kHelp =
    "Usage: ploopd [--help | --version | --can-take-over]\n"
    "\n"
    "Serves one ploop device. Started by `ploop mount` and the like, not by hand: reads an attach\n"
    "order (one line of JSON) from standard input, writes one line with the result to standard\n"
    "output, then serves until the device is detached. Messages go to the device's log in\n"
    "$PLOOP_RUNDIR (default /run/ploop).\n"
    "\n"
    "With --can-take-over it reads what a running daemon wants to hand over to it and answers\n"
    "whether it could; 'ploop upgrade' makes use of that.\n";

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
  raise_limits();  // before the first file is written
  ::umask(022);    // what the device's directory is made with
  if (::chdir("/") != 0) log_error("chdir: {}", errno);
  ::close_range(STDERR_FILENO + 1, ~0u, 0);
  // A closed standard descriptor would be taken by the next file that is opened.
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", O_RDWR);
  }
}

int run_guardian(const char* version) {
  leave_caller();
  const Result<std::string> order = read_all(STDIN_FILENO, kMaxOrder, "attach order");
  Result<control::AttachSpec> spec = order ? control::decode_attach_spec(*order) : fail(Error(order.error()));
  Fd answer{::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
  const Fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(null.get(), STDOUT_FILENO);
  if (!spec) {
    ignore(write_all(answer.get(), control::encode_outcome(fail(spec.error())) + "\n", "answer"),
           "nobody waits");
    return 1;
  }
  return Guardian(*std::move(spec), std::move(answer), version).run();
}

template <typename Number>
std::optional<Number> whole_number(std::string_view text, int base) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// In a process that was a guardian before and executed this program, or in a child of one that rehearses it;
/// `file` has what it left.
int run_resumed(std::string_view file, Resume how, const char* version) {
  const auto read_and_close = [](Fd text) { return read_handover(text.get()); };
  const Result<std::string> read = read_and_close(Fd{whole_number<int>(file, 10).value_or(-1)});
  const Result<Handover> handover = read ? decode_handover(*read) : fail(Error(read.error()));
  if (!handover) {  // not for a program that was asked before
    log_error("{}", handover.error().message());
    return 1;
  }
  Guardian guardian(*handover, version);
  if (how == Resume::Rehearsal) guardian.rehearse_resume(*handover, STDOUT_FILENO);
  return guardian.resume(*handover);
}

/// For who cleans up after a guardian and a keeper that were killed: the device with this mark, and the
/// kernel's number "" or this one, goes. Status Busy: it has I/O errors only, and goes with the last of those
/// who use it.
int run_remove_ublk(std::string_view mark, std::string_view number) {
  const auto token = whole_number<std::uint64_t>(mark, 16);
  const auto id = whole_number<std::uint32_t>(number, 10);
  if (!token || (!number.empty() && !id)) return static_cast<int>(ExitCode::Param);
  const Result<bool> gone = transport::ublk::remove_by_token(*token, id);
  if (!gone) std::fprintf(stderr, "%s\n", gone.error().message().c_str());
  return static_cast<int>(gone ? (*gone ? ExitCode::Ok : ExitCode::Busy) : gone.error().code);
}

}  // namespace

int run_program(int argc, char** argv, const char* version) {
  const std::string_view argument = argc > 1 ? argv[1] : "";
  if (argument == "--help") return std::fputs(kHelp, stdout) < 0;
  if (argument == "--version") return std::printf("ploopd %s\n", version) < 0;
  if (argument == "--can-take-over") return answer_can_take_over(STDIN_FILENO, STDOUT_FILENO, version);
  if (argument == "remove-ublk" && (argc == 3 || argc == 4))
    return run_remove_ublk(argv[2], argc == 4 ? argv[3] : "");
  const bool worker = argument == "worker" && argc == 2;
  const bool rehearsed = argument == "resume" && argc == 4 && std::string_view(argv[3]) == "rehearsal";
  const bool resumed = argument == "resume" && argc == 3;
  if (!worker && !resumed && !rehearsed && argc > 1) {
    std::fputs("ploopd: unknown argument; see --help\n", stderr);
    return static_cast<int>(ExitCode::Param);
  }
  // Started through /proc/self/exe a process is called "exe", through a descriptor it has its number for a
  // name.
  ::prctl(PR_SET_NAME, "ploopd");
  log_to_stderr(worker ? "worker" : "guardian");
  expect_children();
  try {
    if (resumed || rehearsed)
      return run_resumed(argv[2], resumed ? Resume::Really : Resume::Rehearsal, version);
    return worker ? run_worker() : run_guardian(version);
  } catch (const std::bad_alloc&) {
    log_error("out of memory");
    return static_cast<int>(ExitCode::Malloc);
  }
}

}  // namespace ploop::daemon
