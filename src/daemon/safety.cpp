#include "daemon/safety.hpp"

#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.hpp"
#include "base/log.hpp"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

namespace ploop::daemon {
namespace {

/// Below the kernel's own block threads (-20), above who waits for them.
constexpr int kBlockDeviceNice = -10;

}  // namespace

void protect_process() {
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(022);  // `list` is for everybody; what is not gets its mode explicitly
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) log(LogLevel::Detail, "PR_SET_IO_FLUSHER: {}", std::strerror(errno));
  const Result<Fd> score = open_file("/proc/self/oom_score_adj", 01);
  if (!score || !write_all(score->get(), std::string_view("-1000"), "oom_score_adj")) {
    log(LogLevel::Detail, "Can't lower the out-of-memory score");
  }
  // One heap for all threads: each further one would reserve, and lock, address space of its own.
  ::mallopt(M_ARENA_MAX, 1);
}

void lock_memory(bool unlimited) {
  if (::mlockall(MCL_CURRENT) != 0 || (unlimited && ::mlockall(MCL_FUTURE | MCL_ONFAULT) != 0)) {
    log(LogLevel::Detail, "mlockall: {}", std::strerror(errno));
  }
}

void raise_limits() {
  ::signal(SIGXFSZ, SIG_IGN);
  for (const auto resource : {RLIMIT_NOFILE, RLIMIT_FSIZE}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0) continue;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(resource, &limit);
  }
}

void raise_priority() {
  ::setpriority(PRIO_PROCESS, 0, kBlockDeviceNice);
  // Class "none": follow the priority above. The caller may have been started with `ionice`.
  constexpr int kProcess = 1;
  ::syscall(SYS_ioprio_set, kProcess, 0, 0);
}

bool die_with_parent(int parent) { return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent; }

}  // namespace ploop::daemon
