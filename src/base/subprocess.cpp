#include "base/subprocess.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace ploop {
namespace {

/// Owns the attributes and actions of posix_spawn.
struct SpawnSetup {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  SpawnSetup() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

struct Pipe {
  Fd read_end;
  Fd write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(ExitCode::System, "pipe");
  return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

/// Feeds the input and collects the output until the child closes its end.
void exchange(Fd input, std::string_view data, Fd output, std::size_t limit, std::string& collected) {
  if (input) ::fcntl(input.get(), F_SETFL, O_NONBLOCK);
  while (output || input) {
    pollfd fds[2] = {{input.get(), POLLOUT, 0}, {output.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (input && fds[0].revents != 0) {
      const ssize_t n = ::write(input.get(), data.data(), data.size());
      if (n > 0) data.remove_prefix(static_cast<std::size_t>(n));
      if (data.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) input.reset();
    }
    if (output && fds[1].revents != 0) {
      char buf[4096];
      const ssize_t n = ::read(output.get(), buf, sizeof buf);
      if (n > 0) {
        const std::size_t room = limit - std::min(limit, collected.size());
        collected.append(buf, std::min(room, static_cast<std::size_t>(n)));
      } else if (n == 0 || errno != EINTR) {
        output.reset();
      }
    }
  }
}

}  // namespace

void expect_children() {
  ::signal(SIGCHLD, SIG_DFL);
}

int wait_for_child(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return status;
}

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  for (const char* dir : {"/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"}) {
    std::string path = std::string(dir) + "/" + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return fail(ExitCode::System, "program " + name + " is not installed");
}

Result<RunResult> run_program(const std::vector<std::string>& argv, const RunOptions& options) {
  const std::string program = TRY(find_program(argv.at(0)));
  std::string line;
  std::vector<char*> raw;
  for (const std::string& a : argv) {
    line += a + " ";
    raw.push_back(const_cast<char*>(a.c_str()));
  }
  raw.push_back(nullptr);
  log(LogLevel::Command, "Running: {}", line);

  Pipe in;
  Pipe out;
  SpawnSetup setup;
  if (options.input.empty()) {
    posix_spawn_file_actions_addopen(&setup.actions, 0, "/dev/null", O_RDONLY, 0);
  } else {
    in = TRY(make_pipe());
    posix_spawn_file_actions_adddup2(&setup.actions, in.read_end.get(), 0);
  }
  if (options.capture) {
    out = TRY(make_pipe());
    posix_spawn_file_actions_adddup2(&setup.actions, out.write_end.get(), 1);
    posix_spawn_file_actions_adddup2(&setup.actions, out.write_end.get(), 2);
  }
  // The caller may block signals (the daemon, or a command that finishes a step first); the child must not.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&setup.attributes, &none);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (const int signal : {SIGPIPE, SIGXFSZ})
    sigaddset(&defaults, signal);
  posix_spawnattr_setsigdefault(&setup.attributes, &defaults);
  posix_spawnattr_setflags(&setup.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid = -1;
  const int err =
      ::posix_spawn(&pid, program.c_str(), &setup.actions, &setup.attributes, raw.data(), environ);
  if (err != 0) return fail(errno_error(ExitCode::System, err, "run " + program));
  in.read_end.reset();
  out.write_end.reset();

  RunResult result;
  exchange(std::move(in.write_end), options.input, std::move(out.read_end), options.limit, result.output);
  const int status = wait_for_child(pid);
  if (status < 0) return fail_errno(ExitCode::System, "wait for " + program);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Result<std::string> run_checked(const std::vector<std::string>& argv, ExitCode code,
                                const RunOptions& options) {
  auto ran = run_program(argv, options);
  if (!ran) {
    Error error = std::move(ran).error();
    error.code = code;
    return fail(std::move(error));
  }
  RunResult result = std::move(*ran);
  if (result.status == 0) return std::move(result.output);
  const std::string_view output = trim(result.output);
  const std::string_view last =
      output.substr(output.rfind('\n') == std::string_view::npos ? 0 : output.rfind('\n') + 1);
  std::string what = "Command " + argv[0] + " exited with code " + std::to_string(result.status);
  if (!last.empty()) what += " (" + std::string(last) + ")";
  return fail(code, std::move(what));
}

}  // namespace ploop
