#include "daemon/upgrade.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/safety.hpp"

namespace ploop::daemon {
namespace {

/// A program that thinks longer about so short a text hangs.
constexpr unsigned kAskSeconds = 10;
constexpr std::size_t kMaxAnswer = 1u << 20;

/// In the child, with the program at a number that is kept and everything else closed.
[[noreturn]] void become_asked(int program, int text, int answer) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  constexpr int kProgram = 3;
  const int high = ::fcntl(program, F_DUPFD, 16);
  ::dup2(text, STDIN_FILENO);
  ::dup2(answer, STDOUT_FILENO);
  ::dup2(high, kProgram);
  ::close_range(kProgram + 1, ~0u, 0);
  limit_asked_time();
  std::string name = "ploopd";
  std::string question = "--can-take-over";
  const std::array<char*, 3> arguments{name.data(), question.data(), nullptr};
  ::fcntl(kProgram, F_SETFD, FD_CLOEXEC);
  ::syscall(SYS_execveat, kProgram, "", arguments.data(), environ, AT_EMPTY_PATH);
  ::_exit(127);
}

}  // namespace

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

void limit_asked_time() {
  ::alarm(kAskSeconds);
}

Result<pid_t> ask_program(const Fd& program, const Fd& text, const Fd& answer) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid == 0) {
    if (!die_with_parent(parent)) ::_exit(1);
    become_asked(program.get(), text.get(), answer.get());
  }
  return pid;
}

Result<std::string> program_answer(int status, const Fd& answer) {
  if (::lseek(answer.get(), 0, SEEK_SET) != 0)
    return fail_errno(ExitCode::Read, "rewind the program's answer");
  const std::string text = TRY(read_all(answer.get(), kMaxAnswer, "answer of the program"));
  const Result<control::Json> json =
      control::parse_object(text.substr(0, text.find('\n')), "answer of the program");
  if (json && json->contains("error"))
    return fail(control::decode_error_object(control::to_line((*json)["error"])));
  if (!json || status != 0) {
    const std::string how = describe_end(status);
    return fail(ExitCode::Param,
                "The program can't take over a running device: it is broken or too old (" + how + ")");
  }
  return control::string_field(*json, "program");
}

}  // namespace ploop::daemon
