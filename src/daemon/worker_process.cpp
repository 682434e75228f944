#include "daemon/worker_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "daemon/safety.hpp"
#include "daemon/worker.hpp"

namespace ploop::daemon {
namespace {

/// In the worker's process, before exec: the descriptors at their numbers and nothing else.
[[noreturn]] void become_worker(const int (&fds)[kWorkerFds], int parent) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT})
    ::signal(signal, SIG_IGN);  // the guardian decides
  int high[kWorkerFds];
  for (int i = 0; i < kWorkerFds; ++i)
    high[i] = ::fcntl(fds[i], F_DUPFD, 16);
  for (int i = 0; i < kWorkerFds; ++i)
    ::dup2(high[i], kFirstWorkerFd + i);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::close_range(kFirstWorkerFd + kWorkerFds, ~0u, 0);
  if (die_with_parent(parent)) ::execl("/proc/self/exe", "ploopd", "worker", static_cast<char*>(nullptr));
  ::_exit(127);
}

}  // namespace

Result<WorkerProcess> start_worker_process(const WorkerInheritance& inheritance) {
  auto channel = TRY(Channel::pair());
  auto files = TRY(Channel::pair());
  const int fds[kWorkerFds] = {channel.second.fd(), inheritance.transport, inheritance.map,
                               inheritance.control_socket, files.second.fd()};
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid == 0) become_worker(fds, parent);
  return WorkerProcess{pid, std::move(channel.first), std::move(files.first)};
}

}  // namespace ploop::daemon
