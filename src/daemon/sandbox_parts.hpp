// The mechanisms that enter_sandbox() puts together; each can fail on some kernel. The error says why,
// without the part's name.
#pragma once

#include "base/result.hpp"

namespace ploop::daemon::sandbox {

/// Sanitizers read files, make threads and look into the process when they report, so such a build does
/// without what forbids that.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

/// No core file, no further processes, but as much locked memory as the map will ever need: the privilege for
/// that goes next. False: that is more than this process may have (root without CAP_SYS_RESOURCE).
bool set_limits();

/// No capability in any set, none to be had from a program either. With no_new_privs, and not readable by
/// other processes of the user. Of the calling thread.
Status drop_privileges();

/// Landlock, of the calling thread and those it starts: no file can be reached by name, no TCP; where the
/// kernel knows them no abstract socket and no signal either.
Status forbid_files();

/// The allow-list of system calls for all threads. Any other ends the process with SIGSYS.
Status filter_system_calls();

}  // namespace ploop::daemon::sandbox
