// Every way out of the sandbox that comes to mind, one child each. A confined child either dies of SIGSYS or
// gets an error; and where it does no harm, the same attempt without the sandbox succeeds, so that an attempt
// that can't work does not count.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <array>
#include <cerrno>

#include "daemon/sandbox_test_support.hpp"

namespace ploop::daemon {
namespace {

enum class Alone {
  Works,    ///< without the sandbox it succeeds, for root
  Unknown,  ///< it could do harm, so it has arguments that never work, or not every system can do it
};

struct Attempt {
  const char* name;
  Alone alone;
  bool through_ring;  ///< refused with an error, not with the end of the process
  long (*run)(const Captive&);
};

template <typename... Arguments>
long sys(long number, Arguments... arguments) {
  return ::syscall(number, arguments...);
}

/// The result of one operation on the ring, as a system call would give it.
template <typename Prepare>
long on_ring(const Captive& c, Prepare prepare) {
  io_uring_sqe* sqe = io_uring_get_sqe(c.ring->native());
  prepare(sqe);
  if (io_uring_submit_and_wait(c.ring->native(), 1) < 0) return -1;
  io_uring_cqe* cqe = nullptr;
  if (io_uring_peek_cqe(c.ring->native(), &cqe) != 0) return -1;
  return cqe->res;
}

long map_with(int protection) {
  return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

/// A child made by any of the calls for it ends at once.
long made(long pid) {
  if (pid == 0) ::_exit(0);
  return pid;
}

long connect_to_abstract(const Captive& c) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  address.sun_path[1] = 'x';
  return ::connect(c.socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

const Attempt kAttempts[] = {
    // files by name
    {"open", Alone::Works, false, [](const Captive&) { return sys(SYS_open, "/etc/passwd", O_RDONLY); }},
    {"openat", Alone::Works, false, [](const Captive&) { return sys(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY); }},
    {"openat2", Alone::Works, false, [](const Captive&) {
       const std::array<std::uint64_t, 3> how{};
       return sys(SYS_openat2, AT_FDCWD, "/etc/passwd", how.data(), sizeof how);
     }},
    {"open_shadow_for_writing", Alone::Works, false, [](const Captive&) { return sys(SYS_open, "/etc/passwd", O_RDWR); }},
    {"creat", Alone::Unknown, false, [](const Captive&) { return sys(SYS_creat, "/tmp/ploop-escaped", 0600); }},
    {"unlink", Alone::Unknown, false, [](const Captive&) { return sys(SYS_unlink, "/nonexistent/file"); }},
    {"rename", Alone::Unknown, false, [](const Captive&) { return sys(SYS_rename, "/nonexistent/a", "/nonexistent/b"); }},
    {"link", Alone::Unknown, false, [](const Captive&) { return sys(SYS_link, "/nonexistent/a", "/nonexistent/b"); }},
    {"symlink", Alone::Unknown, false, [](const Captive&) { return sys(SYS_symlink, "a", "/nonexistent/b"); }},
    {"mkdir", Alone::Unknown, false, [](const Captive&) { return sys(SYS_mkdir, "/nonexistent/a", 0700); }},
    {"mknod", Alone::Unknown, false, [](const Captive&) { return sys(SYS_mknod, "/nonexistent/a", S_IFREG | 0600, 0); }},
    {"truncate", Alone::Unknown, false, [](const Captive&) { return sys(SYS_truncate, "/nonexistent/a", 0); }},
    {"chmod", Alone::Unknown, false, [](const Captive&) { return sys(SYS_chmod, "/nonexistent/a", 0777); }},
    {"fchmod", Alone::Works, false, [](const Captive& c) { return sys(SYS_fchmod, c.file, 04755); }},
    {"fchown", Alone::Works, false, [](const Captive& c) { return sys(SYS_fchown, c.file, 0, 0); }},
    {"setxattr", Alone::Unknown, false, [](const Captive&) { return sys(SYS_setxattr, "/nonexistent/a", "user.a", "b", 1, 0); }},
    {"chdir", Alone::Works, false, [](const Captive&) { return sys(SYS_chdir, "/"); }},
    {"readlink", Alone::Works, false, [](const Captive&) {
       char target[64];
       return sys(SYS_readlink, "/proc/self/exe", target, sizeof target);
     }},
    {"stat_by_name", Alone::Works, false, [](const Captive&) {
       struct stat st {};
       return sys(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, 0);
     }},
    {"getdents", Alone::Unknown, false, [](const Captive& c) {
       char names[64];
       return sys(SYS_getdents64, c.file, names, sizeof names);
     }},
    {"name_to_handle_at", Alone::Unknown, false, [](const Captive&) {
       std::array<unsigned, 40> handle{128};
       int mount = 0;
       return sys(SYS_name_to_handle_at, AT_FDCWD, "/etc", handle.data(), &mount, 0);
     }},
    {"open_by_handle_at", Alone::Unknown, false, [](const Captive& c) {
       std::array<unsigned, 40> handle{8, 1};
       return sys(SYS_open_by_handle_at, c.file, handle.data(), O_RDONLY);
     }},
    // programs and processes
    {"execve", Alone::Works, false, [](const Captive&) {
       const char* arguments[] = {"true", nullptr};
       return sys(SYS_execve, "/bin/true", arguments, nullptr);
     }},
    {"execveat_of_a_memory_file", Alone::Unknown, false, [](const Captive& c) {
       const char* arguments[] = {"program", nullptr};
       return sys(SYS_execveat, c.memory, "", arguments, nullptr, AT_EMPTY_PATH);
     }},
    {"memfd_create", Alone::Works, false, [](const Captive&) { return sys(SYS_memfd_create, "x", 0); }},
    {"fork", Alone::Works, false, [](const Captive&) { return made(sys(SYS_fork)); }},
    {"vfork", Alone::Works, false, [](const Captive&) { return made(::fork() < 0 ? -1 : 1); }},
    {"clone", Alone::Works, false, [](const Captive&) { return made(sys(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0)); }},
    {"clone_a_thread", Alone::Unknown, false, [](const Captive&) {
       return sys(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, nullptr, nullptr, nullptr, 0);
     }},
    {"clone3", Alone::Works, false, [](const Captive&) {
       std::array<std::uint64_t, 11> how{};
       how[4] = SIGCHLD;
       return made(sys(SYS_clone3, how.data(), sizeof how));
     }},
    {"kill_another_process", Alone::Works, false, [](const Captive& c) { return sys(SYS_kill, c.parent, 0); }},
    {"kill_everybody", Alone::Unknown, false, [](const Captive&) { return sys(SYS_kill, -1, 0); }},
    {"tgkill_another_process", Alone::Works, false, [](const Captive& c) { return sys(SYS_tgkill, c.parent, c.parent, 0); }},
    {"tkill", Alone::Works, false, [](const Captive& c) { return sys(SYS_tkill, c.parent, 0); }},
    {"sigqueue", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_rt_sigqueueinfo, c.parent, 0, nullptr); }},
    {"pidfd_open", Alone::Works, false, [](const Captive& c) { return sys(SYS_pidfd_open, c.parent, 0); }},
    {"pidfd_send_signal", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_pidfd_send_signal, c.file, 0, nullptr, 0); }},
    {"pidfd_getfd", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_pidfd_getfd, c.file, 0, 0); }},
    {"ptrace", Alone::Works, false, [](const Captive&) { return sys(SYS_ptrace, PTRACE_TRACEME, 0, nullptr, nullptr); }},
    {"process_vm_readv", Alone::Works, false, [](const Captive& c) {
       char byte = 0;
       const iovec here{&byte, 1};
       return sys(SYS_process_vm_readv, c.parent, &here, 1UL, &here, 1UL, 0UL);
     }},
    {"process_vm_writev", Alone::Unknown, false, [](const Captive& c) {
       return sys(SYS_process_vm_writev, c.parent, nullptr, 0UL, nullptr, 0UL, 0UL);
     }},
    {"kcmp", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_kcmp, c.parent, c.parent, 0, 0, 0); }},
    {"setpriority", Alone::Works, false, [](const Captive&) { return sys(SYS_setpriority, 0, 0, 0); }},
    {"prlimit_of_another_process", Alone::Works, false, [](const Captive& c) { return sys(SYS_prlimit64, c.parent, 7, nullptr, nullptr); }},
    // sockets
    {"socket_unix", Alone::Works, false, [](const Captive&) { return sys(SYS_socket, AF_UNIX, SOCK_STREAM, 0); }},
    {"socket_tcp", Alone::Works, false, [](const Captive&) { return sys(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
    {"socket_udp", Alone::Works, false, [](const Captive&) { return sys(SYS_socket, AF_INET, SOCK_DGRAM, 0); }},
    {"socket_netlink", Alone::Works, false, [](const Captive&) { return sys(SYS_socket, AF_NETLINK, SOCK_RAW, 0); }},
    {"socket_packet", Alone::Unknown, false, [](const Captive&) { return sys(SYS_socket, AF_PACKET, SOCK_RAW, 0); }},
    {"socketpair", Alone::Works, false, [](const Captive&) {
       std::array<int, 2> ends{};
       return sys(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends.data());
     }},
    {"connect", Alone::Unknown, false, connect_to_abstract},
    {"bind", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_bind, c.socket, nullptr, 0); }},
    {"sendto_an_address", Alone::Unknown, false, [](const Captive& c) {
       sockaddr_un address{};
       address.sun_family = AF_UNIX;
       return sys(SYS_sendto, c.socket, "x", 1UL, MSG_NOSIGNAL, &address, sizeof address);
     }},
    {"sendmsg", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_sendmsg, c.socket, nullptr, 0); }},
    // mounts and namespaces
    {"mount", Alone::Unknown, false, [](const Captive&) { return sys(SYS_mount, "x", "/nonexistent", "tmpfs", 0UL, nullptr); }},
    {"umount", Alone::Unknown, false, [](const Captive&) { return sys(SYS_umount2, "/nonexistent", 0); }},
    {"fsopen", Alone::Works, false, [](const Captive&) { return sys(SYS_fsopen, "tmpfs", 0); }},
    {"open_tree", Alone::Works, false, [](const Captive&) { return sys(SYS_open_tree, AT_FDCWD, "/", 1); }},
    {"move_mount", Alone::Unknown, false, [](const Captive&) { return sys(SYS_move_mount, -1, "", -1, "", 0); }},
    {"pivot_root", Alone::Unknown, false, [](const Captive&) { return sys(SYS_pivot_root, "/nonexistent", "/nonexistent"); }},
    {"chroot", Alone::Works, false, [](const Captive&) { return sys(SYS_chroot, "/"); }},
    {"setns", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_setns, c.file, 0); }},
    {"unshare", Alone::Works, false, [](const Captive&) { return sys(SYS_unshare, CLONE_FS); }},
    {"unshare_a_user_namespace", Alone::Unknown, false, [](const Captive&) { return sys(SYS_unshare, CLONE_NEWUSER); }},
    // rings
    {"io_uring_setup", Alone::Works, false, [](const Captive&) {
       io_uring_params parameters{};
       return sys(SYS_io_uring_setup, 8, &parameters);
     }},
    {"io_uring_register", Alone::Works, true, [](const Captive& c) {
       std::array<int, 1> files{c.file};
       return sys(SYS_io_uring_register, c.ring->native()->ring_fd, IORING_REGISTER_FILES, files.data(), 1);
     }},
    {"ring_openat", Alone::Works, true, [](const Captive& c) {
       return on_ring(c, [](io_uring_sqe* sqe) { io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0); });
     }},
    {"ring_openat2", Alone::Works, true, [](const Captive& c) {
       open_how how{};
       return on_ring(c, [&](io_uring_sqe* sqe) { io_uring_prep_openat2(sqe, AT_FDCWD, "/etc/passwd", &how); });
     }},
    {"ring_statx", Alone::Works, true, [](const Captive& c) {
       struct statx st {};
       return on_ring(c, [&](io_uring_sqe* sqe) { io_uring_prep_statx(sqe, AT_FDCWD, "/etc/passwd", 0, STATX_SIZE, &st); });
     }},
    {"ring_socket", Alone::Works, true, [](const Captive& c) {
       return on_ring(c, [](io_uring_sqe* sqe) { io_uring_prep_socket(sqe, AF_INET, SOCK_STREAM, 0, 0); });
     }},
    {"ring_connect", Alone::Unknown, true, [](const Captive& c) {
       sockaddr_un address{};
       address.sun_family = AF_UNIX;
       return on_ring(c, [&](io_uring_sqe* sqe) {
         io_uring_prep_connect(sqe, c.socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
       });
     }},
    {"ring_unlinkat", Alone::Unknown, true, [](const Captive& c) {
       return on_ring(c, [](io_uring_sqe* sqe) { io_uring_prep_unlinkat(sqe, AT_FDCWD, "/nonexistent/a", 0); });
     }},
    {"ring_renameat", Alone::Unknown, true, [](const Captive& c) {
       return on_ring(c, [](io_uring_sqe* sqe) { io_uring_prep_renameat(sqe, AT_FDCWD, "/nonexistent/a", AT_FDCWD, "/nonexistent/b", 0); });
     }},
    {"ring_mkdirat", Alone::Unknown, true, [](const Captive& c) {
       return on_ring(c, [](io_uring_sqe* sqe) { io_uring_prep_mkdirat(sqe, AT_FDCWD, "/nonexistent/a", 0700); });
     }},
    {"ring_send", Alone::Works, true, [](const Captive& c) {
       return on_ring(c, [&](io_uring_sqe* sqe) { io_uring_prep_send(sqe, c.socket, "x", 1, 0); });
     }},
    {"ring_splice", Alone::Unknown, true, [](const Captive& c) {
       return on_ring(c, [&](io_uring_sqe* sqe) { io_uring_prep_splice(sqe, c.file, -1, c.socket, -1, 1, 0); });
     }},
    {"ring_msg", Alone::Unknown, true, [](const Captive& c) {
       return on_ring(c, [&](io_uring_sqe* sqe) { io_uring_prep_msg_ring(sqe, c.ring->native()->ring_fd, 1, 1, 0); });
     }},
    {"ring_personality", Alone::Unknown, true, [](const Captive& c) {
       return on_ring(c, [&](io_uring_sqe* sqe) {
         io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
         sqe->personality = 1;
       });
     }},
    // the kernel
    {"keyctl", Alone::Unknown, false, [](const Captive&) { return sys(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0); }},
    {"add_key", Alone::Unknown, false, [](const Captive&) { return sys(SYS_add_key, "user", "ploop", "x", 1UL, -2); }},
    {"request_key", Alone::Unknown, false, [](const Captive&) { return sys(SYS_request_key, "user", "ploop", nullptr, 0); }},
    {"userfaultfd", Alone::Unknown, false, [](const Captive&) { return sys(SYS_userfaultfd, O_CLOEXEC); }},
    {"bpf", Alone::Unknown, false, [](const Captive&) { return sys(SYS_bpf, 0, nullptr, 0); }},
    {"perf_event_open", Alone::Unknown, false, [](const Captive&) { return sys(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
    {"init_module", Alone::Unknown, false, [](const Captive&) { return sys(SYS_init_module, nullptr, 0UL, ""); }},
    {"finit_module", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_finit_module, c.file, "", 0); }},
    {"delete_module", Alone::Unknown, false, [](const Captive&) { return sys(SYS_delete_module, "nonexistent-module", O_NONBLOCK); }},
    {"kexec_load", Alone::Unknown, false, [](const Captive&) { return sys(SYS_kexec_load, 0UL, 99UL, nullptr, ~0UL); }},
    {"reboot", Alone::Unknown, false, [](const Captive&) { return sys(SYS_reboot, 0, 0, 0, nullptr); }},
    {"syslog", Alone::Unknown, false, [](const Captive&) { return sys(SYS_syslog, 10, nullptr, 0); }},
    {"swapon", Alone::Unknown, false, [](const Captive&) { return sys(SYS_swapon, "/nonexistent/a", 0); }},
    {"quotactl", Alone::Unknown, false, [](const Captive&) { return sys(SYS_quotactl, 0, "/nonexistent/a", 0, nullptr); }},
    {"sethostname", Alone::Unknown, false, [](const Captive&) { return sys(SYS_sethostname, nullptr, -1); }},
    {"clock_settime", Alone::Unknown, false, [](const Captive&) { return sys(SYS_clock_settime, 99, nullptr); }},
    {"adjtimex", Alone::Unknown, false, [](const Captive&) { return sys(SYS_adjtimex, nullptr); }},
    {"acct", Alone::Unknown, false, [](const Captive&) { return sys(SYS_acct, "/nonexistent/a"); }},
    // privileges
    {"setuid", Alone::Works, false, [](const Captive&) { return sys(SYS_setuid, 0); }},
    {"setgroups", Alone::Works, false, [](const Captive&) { return sys(SYS_setgroups, 0, nullptr); }},
    {"capset", Alone::Unknown, false, [](const Captive&) { return sys(SYS_capset, nullptr, nullptr); }},
    {"prctl_dumpable", Alone::Works, false, [](const Captive&) { return sys(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
    {"prctl_ambient", Alone::Unknown, false, [](const Captive&) { return sys(SYS_prctl, 47, 2, 21, 0, 0); }},
    {"seccomp", Alone::Unknown, false, [](const Captive&) { return sys(SYS_seccomp, 1, 0, nullptr); }},
    {"landlock", Alone::Unknown, false, [](const Captive&) { return sys(444, nullptr, 0UL, 1); }},
    {"setrlimit", Alone::Works, false, [](const Captive&) {
       const std::array<std::uint64_t, 2> none{};
       return sys(SYS_setrlimit, 4, none.data());
     }},
    {"personality", Alone::Works, false, [](const Captive&) { return sys(SYS_personality, 0xffffffffUL); }},
    // memory that runs
    {"mmap_executable", Alone::Works, false, [](const Captive&) { return map_with(PROT_READ | PROT_EXEC); }},
    {"mmap_writable_executable", Alone::Works, false, [](const Captive&) { return map_with(PROT_READ | PROT_WRITE | PROT_EXEC); }},
    {"mprotect_executable", Alone::Works, false, [](const Captive&) {
       void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       return sys(SYS_mprotect, page, 4096UL, PROT_READ | PROT_EXEC);
     }},
    {"pkey_mprotect", Alone::Works, false, [](const Captive&) {
       void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       return sys(SYS_pkey_mprotect, page, 4096UL, PROT_READ | PROT_EXEC, -1);
     }},
    // what is done to descriptors
    {"ioctl_TIOCSTI", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_ioctl, c.device, 0x5412UL, "x"); }},
    {"ioctl_LOOP_SET_FD", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_ioctl, c.device, 0x4C00UL, c.file); }},
    {"ioctl_LOOP_CTL_GET_FREE", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_ioctl, c.device, 0x4C82UL, 0); }},
    {"ioctl_FS_IOC_SETFLAGS", Alone::Unknown, false, [](const Captive& c) {
       long flags = 0;
       return sys(SYS_ioctl, c.file, FS_IOC_SETFLAGS, &flags);
     }},
    {"ioctl_FIFREEZE", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_ioctl, c.device, FIFREEZE, 0); }},
    {"ioctl_FIONREAD", Alone::Works, false, [](const Captive& c) {
       int bytes = 0;
       return sys(SYS_ioctl, c.socket, FIONREAD, &bytes);
     }},
    {"fcntl_F_SETOWN", Alone::Works, false, [](const Captive& c) { return sys(SYS_fcntl, c.socket, F_SETOWN, c.parent); }},
    {"fcntl_F_NOTIFY", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_fcntl, c.file, F_NOTIFY, 0); }},
    {"fcntl_F_SETFL", Alone::Works, false, [](const Captive& c) { return sys(SYS_fcntl, c.socket, F_SETFL, O_ASYNC); }},
    {"fcntl_F_SETLEASE", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_fcntl, c.file, F_SETLEASE, F_UNLCK); }},
    {"fcntl_F_DUPFD", Alone::Works, false, [](const Captive& c) { return sys(SYS_fcntl, c.file, F_DUPFD, 0); }},
    {"dup", Alone::Works, false, [](const Captive& c) { return sys(SYS_dup, c.file); }},
    {"splice", Alone::Unknown, false, [](const Captive& c) { return sys(SYS_splice, c.file, nullptr, c.socket, nullptr, 1UL, 0); }},
    {"inotify_init", Alone::Works, false, [](const Captive&) { return sys(SYS_inotify_init1, 0); }},
    {"fanotify_init", Alone::Unknown, false, [](const Captive&) { return sys(SYS_fanotify_init, 0, O_RDONLY); }},
    {"getsockopt_of_another_kind", Alone::Works, false, [](const Captive& c) {
       int value = 0;
       socklen_t length = sizeof value;
       return sys(SYS_getsockopt, c.socket, SOL_SOCKET, SO_TYPE, &value, &length);
     }},
    {"setsockopt", Alone::Works, false, [](const Captive& c) {
       const int one = 1;
       return sys(SYS_setsockopt, c.socket, SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
     }},
    // System V and POSIX objects
    {"shmget", Alone::Unknown, false, [](const Captive&) { return sys(SYS_shmget, 0x706c6f6f, 4096UL, 0); }},
    {"msgget", Alone::Unknown, false, [](const Captive&) { return sys(SYS_msgget, 0x706c6f6f, 0); }},
    {"semget", Alone::Unknown, false, [](const Captive&) { return sys(SYS_semget, 0x706c6f6f, 1, 0); }},
    {"mq_open", Alone::Unknown, false, [](const Captive&) { return sys(SYS_mq_open, "ploop-none", O_RDONLY, 0, nullptr); }},
#ifdef __x86_64__
    {"iopl", Alone::Unknown, false, [](const Captive&) { return sys(SYS_iopl, 3); }},
    {"ioperm", Alone::Unknown, false, [](const Captive&) { return sys(SYS_ioperm, 0x80UL, 1UL, 1); }},
    {"modify_ldt", Alone::Unknown, false, [](const Captive&) { return sys(SYS_modify_ldt, 0, nullptr, 0UL); }},
    {"arch_prctl", Alone::Unknown, false, [](const Captive&) { return sys(SYS_arch_prctl, 0x1011, 0UL); }},
    {"a_call_of_the_32_bit_interface", Alone::Unknown, false, [](const Captive&) {
       long result = 20;  // getpid
       asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
       return result;
     }},
    {"a_call_of_the_x32_interface", Alone::Unknown, false, [](const Captive&) { return sys(0x40000000L + SYS_getpid); }},
#endif
    {"a_call_that_does_not_exist", Alone::Unknown, false, [](const Captive&) { return sys(5000); }},
};

class Escape : public testing::TestWithParam<Attempt> {
 protected:
  void SetUp() override {
    static const bool possible = can_have("seccomp") && can_have("ring");
    if (!possible)
      GTEST_SKIP() << "this system or this build has no system call filter or no restricted rings";
  }
};

TEST_P(Escape, IsDenied) {
  const Attempt& attempt = GetParam();
  const int status = run_child(true, attempt.run);
  if (attempt.through_ring) {
    EXPECT_EQ(describe_status(status), "error");
  } else {
    EXPECT_EQ(describe_status(status), "signal " + std::to_string(SIGSYS));
  }
  if (attempt.alone == Alone::Works && ::geteuid() == 0) {
    EXPECT_EQ(describe_status(run_child(false, attempt.run)), "success") << "without the sandbox";
  }
}

INSTANTIATE_TEST_SUITE_P(Attempts, Escape, testing::ValuesIn(kAttempts),
                         [](const auto& attempt) { return std::string(attempt.param.name); });

static_assert(std::size(kAttempts) >= 60);

}  // namespace
}  // namespace ploop::daemon
