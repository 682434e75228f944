// The keeper of FUSE + loop: a child of the guardian that opens the FUSE file, puts the loop device over it
// and holds it. It is a process of its own because every one of these steps waits for the worker; the
// guardian must never wait for it, and a process that holds /dev/fuse must never have the loop device's dirty
// pages to write back when it dies.
//
//   keeper -> guardian   attached {path, major, minor, direct_io}   or   error {...}
//   guardian -> keeper   release
//   keeper -> guardian   releasing                                   not mounted; writing back begins
//                        busy                                        somebody has the device open; nothing
//                        changed released {error?}                           the loop device is gone; the
//                        keeper ends
#pragma once

#include <sys/types.h>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "daemon/channel.hpp"

namespace ploop::daemon {

struct KeeperProcess {
  pid_t pid = -1;
  Channel channel;
};

/// Forks it. `mount` is the detached FUSE mount. The child has no other descriptors than it needs.
Result<KeeperProcess> start_keeper(const Fd& mount, bool read_only);

}  // namespace ploop::daemon
