// What a process was about to do when the system call filter ended it.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace ploop::daemon {

/// "system call NAME", from the kernel's log; when that has nothing about the process (or can't be read),
/// where to look.
std::string stopped_call(pid_t pid);

/// The number of the call in one record of the kernel's log, if that record is about the filter and this
/// process; else -1.
int stopped_call_in(std::string_view record, pid_t pid);

}  // namespace ploop::daemon
