// Starting a worker: a process of its own, executed anew, with the descriptors it needs at fixed numbers and
// no others.
#pragma once

#include <sys/types.h>

#include "base/result.hpp"
#include "daemon/channel.hpp"

namespace ploop::daemon {

/// What a worker gets of its guardian; all stay the caller's.
struct WorkerInheritance {
  int transport = -1;
  int map = -1;
  int control_socket = -1;
};

struct WorkerProcess {
  pid_t pid = -1;
  Channel channel;
  Channel files;  ///< its requests for files
};

/// ExitCode::System. The process dies with its parent.
Result<WorkerProcess> start_worker_process(const WorkerInheritance& inheritance);

}  // namespace ploop::daemon
