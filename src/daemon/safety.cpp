#include "daemon/safety.hpp"

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
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
/// A stack can have a thousand images.
constexpr rlim_t kManyFiles = 4096;
/// Threads get stacks of this size when a program starts.
constexpr rlim_t kUsualStack = 8 << 20;

/// As raise_limits() left it: a worker in its sandbox may not ask.
rlim_t largest_file = RLIM_INFINITY;

using Resource = decltype(RLIMIT_CPU);

/// To as much as the hard limit allows, at least `wanted`; who has the privilege raises that, too.
void raise(Resource resource, rlim_t wanted) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) return;
  const bool is_stack = resource == RLIMIT_STACK;  // without a limit, the layout of memory is another one
  if (is_stack && limit.rlim_cur >= wanted) return;
  if (limit.rlim_max < wanted) {
    const rlimit both{wanted, wanted};
    if (::setrlimit(resource, &both) == 0) return;
  }
  limit.rlim_cur = is_stack ? std::min(wanted, limit.rlim_max) : limit.rlim_max;
  ::setrlimit(resource, &limit);
}

}  // namespace

void protect_process() {
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(022);  // `list` is for everybody; what is not gets its mode explicitly
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0)
    log(LogLevel::Detail, "PR_SET_IO_FLUSHER: {}", std::strerror(errno));
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
  // A limit that can't be raised is an error where it strikes, and kills nobody.
  for (const int signal : {SIGXFSZ, SIGXCPU})
    ::signal(signal, SIG_IGN);
  for (const Resource resource :
       {RLIMIT_FSIZE, RLIMIT_CPU, RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_NPROC})
    raise(resource, RLIM_INFINITY);
  raise(RLIMIT_NOFILE, kManyFiles);
  raise(RLIMIT_STACK, kUsualStack);
  rlimit files{};
  if (::getrlimit(RLIMIT_FSIZE, &files) == 0) largest_file = files.rlim_cur;
}

Status check_file_size_limit(std::uint64_t disk_bytes, std::uint64_t cluster_bytes) {
  // With every cluster in use: beside the data, the table and some clusters to move things in.
  const std::uint64_t bytes = disk_bytes + disk_bytes / 1024 + 4 * cluster_bytes;
  if (largest_file == RLIM_INFINITY || largest_file >= bytes) return {};
  return fail(errno_error(ExitCode::System, EFBIG,
                          "The image can need " + std::to_string(bytes) +
                              " bytes, but files may not become larger than " + std::to_string(largest_file) +
                              " bytes (ulimit -f)"));
}

void raise_priority() {
  const sched_param none{};
  if (::sched_getscheduler(0) != SCHED_OTHER) ::sched_setscheduler(0, SCHED_OTHER, &none);
  ::setpriority(PRIO_PROCESS, 0, kBlockDeviceNice);
  // Class "none": follow the priority above. The caller may have been started with `ionice`.
  constexpr int kProcess = 1;
  ::syscall(SYS_ioprio_set, kProcess, 0, 0);
}

bool die_with_parent(int parent) {
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent;
}

}  // namespace ploop::daemon
