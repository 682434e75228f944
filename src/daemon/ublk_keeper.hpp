// The keeper of a ublk device: makes the kernel's commands, each of which may wait for a worker. It outlives
// the guardian by the moment it takes to end the device: the kernel waits for another server for ever, so
// without this everybody who uses the disk would.
//
//   keeper -> guardian   server {geometry, generation} + descriptor  the file on which a worker serves; the
//   keeper has no copy guardian -> keeper   start {sectors, granularity}                the worker has
//   fetched keeper -> guardian   attached {path, major, minor, direct_io}    or   error {...} guardian ->
//   keeper   replace {generation}                        the worker died: "server" again, for the next one
//   guardian -> keeper   resize {sectors}                            keeper -> guardian   resized {error?}
//   guardian -> keeper   release                                     keeper -> guardian   releasing, then
//   busy   or   released {error?}
//
// At the end of the channel it stops the disk, if it still runs, and removes the device.
#pragma once

#include <cstdint>

#include "base/result.hpp"
#include "daemon/keeper.hpp"
#include "transport/ublk/data_path.hpp"

namespace ploop::daemon {

struct UblkKeeperOrder {
  std::uint64_t token = 0;  ///< the mark of our device
  bool read_only = false;
  transport::ublk::DataPath path = transport::ublk::DataPath::Copy;
  bool adopt = false;  ///< a keeper before made the device
};

/// Forks it. ExitCode::System.
Result<KeeperProcess> start_ublk_keeper(const UblkKeeperOrder& order);

}  // namespace ploop::daemon
