// `snapshot-switch`: a snapshot's content becomes the current state. What was written since the snapshot that
// is current now is thrown away; all snapshots stay.
#pragma once

#include <string>

#include "base/result.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

struct SwitchOptions {
  std::string descriptor;
  std::string uuid;
};

/// ExitCode::Param: unknown, temporary, already current, or the disk is running. ExitCode::Open when the
/// snapshot's header can't be read. The disk is as it was when it fails.
Status snapshot_switch(const SwitchOptions& options);

/// The part under the lock: the top goes, a new and empty one above `uuid` takes its place. Nobody uses the
/// top.
Status exchange_top(descriptor::Locked& locked, const std::string& op, const std::string& uuid);

}  // namespace ploop::ops
