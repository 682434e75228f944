// `snapshot-delete`: a snapshot goes. A leaf's file is removed, the only child of another is merged into it,
// one with several children is marked to go later. The top of a stopped disk: roll back to its parent.
#pragma once

#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

struct DeleteOptions {
  std::string descriptor;
  std::string uuid;
  ProgressCallback progress = {};
};

/// ExitCode::NoSnapshot: unknown; Param: refused; Busy: a device shows it. Otherwise as snapshot_merge().
Status snapshot_delete(const DeleteOptions& options);

/// The part under the lock. `locked.disk` is what the descriptor says afterwards.
Status delete_node(descriptor::Locked& locked, const std::string& uuid, const ProgressCallback& progress);

/// Temporary snapshots that nobody uses and at most one node is based on go. What can't go now stays, which
/// is no error. An error is a merge that stopped half-way: its note is there, so the caller can't begin
/// anything else.
Status drop_surplus(descriptor::Locked& locked);

}  // namespace ploop::ops
