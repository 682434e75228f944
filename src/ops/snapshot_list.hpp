// `snapshot-list`: the nodes of a disk's tree. No lock: the descriptor is always replaced in one step.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "descriptor/snapshot_rows.hpp"

namespace ploop::ops {

using descriptor::SnapshotRow;
using descriptor::SnapshotRowOptions;

/// All errors are ExitCode::Create (1), as always.
Result<std::vector<SnapshotRow>> snapshot_list(const std::string& descriptor,
                                               const SnapshotRowOptions& options);

}  // namespace ploop::ops
