// `snapshot-merge`: a node of the tree and its parent become one. Data flows down: the lower file survives,
// under the upper node's name. Works on a stopped disk, on a running one, and on a branch that a running one
// does not use.
#pragma once

#include <optional>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "descriptor/tree_edit.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

struct SnapshotMergeOptions {
  std::string descriptor;
  std::optional<std::string> uuid;   ///< the upper node; nothing means the top
  std::optional<std::string> lower;  ///< the ancestor; nothing means the parent
  bool all = false;                  ///< the top and everything below into the base
  std::string
      new_file;  ///< not empty: everything goes into this new file, which takes the lowest one's place
  ProgressCallback progress = {};
};

/// ExitCode::Param for what can't be merged, Busy when another device shows one of the snapshots, Open when
/// an image is not closed properly. When it fails later the disk's current state is right at every moment,
/// and the next command on the disk goes on with the merge.
Status snapshot_merge(const SnapshotMergeOptions& options);

/// How a merge is done, under the lock.
struct MergeOrder {
  descriptor::MergePlan plan;
  std::string new_file = {};  ///< absolute, below the descriptor's directory
  std::string request = {};   ///< the user's words, see OpenedDisk::just_finished()
  ProgressCallback progress = {};
};
/// Logs what it does except for the last line. `locked.disk` is what the descriptor says afterwards.
Status merge_nodes(descriptor::Locked& locked, const MergeOrder& order);

/// The handler of ops/recover.cpp.
Result<Outcome> finish_merge(Interrupted& work);

}  // namespace ploop::ops
