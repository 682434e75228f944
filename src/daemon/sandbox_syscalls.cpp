// The allow-list. It has what the worker does while it serves, opens images that it was handed, changes their
// chain and ends; nothing that names a file, makes a process, a thread, a socket or executable memory. What a
// ring may do is limited by the ring.
#include <fcntl.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>
#include <memory>

#include "daemon/sandbox_parts.hpp"

namespace ploop::daemon::sandbox {
namespace {

/// Allowed with any arguments.
constexpr int kAnyArguments[] = {
    // the data path and the image files
    SCMP_SYS(io_uring_enter), SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
    SCMP_SYS(fdatasync), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(copy_file_range),
    SCMP_SYS(sync_file_range), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(fstatfs), SCMP_SYS(close),
    // the control socket's connections and the guardian's channels
    SCMP_SYS(accept4), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(shutdown), SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    // memory; that it is never executable is decided below
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(mlock), SCMP_SYS(munlock),
    SCMP_SYS(mlockall),
    // threads that exist, their beginning and their end
    SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
    SCMP_SYS(exit), SCMP_SYS(exit_group),
    // the clock, where the kernel's page for it can't be used, and who we are
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(geteuid)};

struct FilterDeleter {
  void operator()(void* filter) const { seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, FilterDeleter>;

/// A system call that this architecture does not have is no error.
Status add(const Filter& filter, std::uint32_t action, int call,
           std::initializer_list<scmp_arg_cmp> arguments) {
  const int err = seccomp_rule_add_array(filter.get(), action, call, static_cast<unsigned>(arguments.size()),
                                         arguments.begin());
  if (err == 0 || err == -EDOM) return {};
  return fail(errno_error(ExitCode::System, -err, "make the system call filter"));
}

scmp_arg_cmp equal(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
scmp_arg_cmp without(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, 0};
}

Status add_conditions(const Filter& filter) {
  // Memory that can be executed is what the program was started with.
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), {without(2, PROT_EXEC)}));
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), {without(2, PROT_EXEC)}));
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), {equal(1, F_OFD_SETLK)}));
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), {equal(1, F_GETFL)}));
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {equal(1, FICLONERANGE)}));
  // Answers go to who asked: no address.
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(sendto), {equal(4, 0)}));
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(getsockopt), {equal(1, SOL_SOCKET), equal(2, SO_PEERCRED)}));
  // abort(), and nobody else's end.
  TRY(add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill),
          {equal(0, static_cast<std::uint64_t>(::getpid())), equal(2, SIGABRT)}));
  // liburing gives back its registration of the ring when that ends, and does not mind that it can't.
  return add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_register), {});
}

}  // namespace

Status filter_system_calls() {
  if (kSanitized) return fail(ExitCode::System, "not in a build with sanitizers");
  const Filter filter(seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (!filter) return fail(ExitCode::Malloc, "no memory for the filter");
  seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  // There are no secrets of others in this process. Newer kernels don't slow it down for them either.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_SSB, 1);
  for (const int call : kAnyArguments)
    TRY(add(filter, SCMP_ACT_ALLOW, call, {}));
  TRY(add_conditions(filter));
  const int err = seccomp_load(filter.get());
  if (err != 0) return fail(errno_error(ExitCode::System, -err, "load the system call filter"));
  return {};
}

}  // namespace ploop::daemon::sandbox
