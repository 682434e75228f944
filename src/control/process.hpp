// Facts about processes and the sockets between them.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::control {

/// Start time of a process in clock ticks since boot, from /proc; 0 when there is no such process.
std::uint64_t process_start_time(int pid);

/// Unix stream sockets by path. The directory is opened first, so that paths longer than a socket address
/// work too.
Result<Fd> listen_at(const std::string& path);
Result<Fd> connect_to(const std::string& path);

}  // namespace ploop::control
