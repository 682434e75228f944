#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "daemon/sandbox_parts.hpp"

namespace ploop::daemon::sandbox {
namespace {

/// Root gets no capability back by executing a program or changing its user, and nothing of this can be
/// undone.
constexpr unsigned long kSecureBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                      SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                      SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

bool limit(decltype(RLIMIT_CORE) resource, rlim_t value) {
  const rlimit both{value, value};
  return ::setrlimit(resource, &both) == 0;
}

/// Capabilities above the last one the kernel knows don't exist.
Status empty_bounding_set() {
  for (unsigned long capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
      return fail_errno(ExitCode::System, "empty the bounding set");
  }
  return {};
}

Status clear_capabilities() {
  __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  const __user_cap_data_struct sets[2] = {};
  if (::syscall(SYS_capset, &header, sets) != 0) return fail_errno(ExitCode::System, "drop the capabilities");
  return {};
}

}  // namespace

bool set_limits() {
  limit(RLIMIT_CORE, 0);
  // Not 0: that would also leave io_uring without threads for what it can't do at once. One process is what
  // this is already.
  limit(RLIMIT_NPROC, 1);
  // The device may grow.
  return limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
}

Status drop_privileges() {
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  // These two need a capability. Who has none has nothing to lose by executing a program either, with what
  // follows.
  const bool privileged = ::prctl(PR_SET_SECUREBITS, kSecureBits, 0, 0, 0) == 0;
  if (privileged) TRY(empty_bounding_set());
  TRY(clear_capabilities());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(ExitCode::System, "set no_new_privs");
  if (!kSanitized && ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return fail_errno(ExitCode::System, "forbid dumps");
  return {};
}

}  // namespace ploop::daemon::sandbox
