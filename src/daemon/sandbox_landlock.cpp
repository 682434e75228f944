// By system calls and numbers, because the library's headers may be older than the kernel the program runs
// on.
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "base/fd.hpp"
#include "daemon/sandbox_parts.hpp"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

namespace ploop::daemon::sandbox {
namespace {

/// What a rule set takes away, as the kernel defines it; a kernel takes as many members as it knows.
struct RulesetAttributes {
  std::uint64_t files = 0;    ///< kinds of access, one bit each
  std::uint64_t network = 0;  ///< binding and connecting TCP sockets
  std::uint64_t scoped = 0;   ///< abstract Unix sockets, signals
};

constexpr std::uint32_t kAskVersion = 1;

constexpr std::uint64_t bits(unsigned count) {
  return (std::uint64_t{1} << count) - 1;
}

/// All that version `abi` of the interface can take away.
RulesetAttributes everything(long abi) {
  RulesetAttributes all;
  all.files = bits(13);
  if (abi >= 2) all.files = bits(14);  // linking and renaming between directories
  if (abi >= 3) all.files = bits(15);  // truncating
  if (abi >= 5) all.files = bits(16);  // ioctl on devices
  if (abi >= 4) all.network = bits(2);
  if (abi >= 6) all.scoped = bits(2);
  return all;
}

std::size_t known_bytes(long abi) {
  if (abi >= 6) return sizeof(RulesetAttributes);
  return abi >= 4 ? 2 * sizeof(std::uint64_t) : sizeof(std::uint64_t);
}

}  // namespace

Status forbid_files() {
  if (kSanitized) return fail(ExitCode::System, "not in a build with sanitizers");
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskVersion);
  if (abi < 1) return fail_errno(ExitCode::System, "the kernel has no Landlock, or it is not switched on");
  const RulesetAttributes all = everything(abi);
  const Fd rules{static_cast<int>(::syscall(SYS_landlock_create_ruleset, &all, known_bytes(abi), 0))};
  if (!rules) return fail_errno(ExitCode::System, "make a rule set");
  // No rule is added: everything it handles is forbidden. What is open stays usable.
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) != 0)
    return fail_errno(ExitCode::System, "restrict this process");
  return {};
}

}  // namespace ploop::daemon::sandbox
