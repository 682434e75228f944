// The rows of `snapshot-list`, without their formatting.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "descriptor/model.hpp"

namespace ploop::descriptor {

struct SnapshotRow {
  std::string parent_uuid;
  std::string uuid;
  std::string file;  ///< absolute
  bool current = false;
  bool temporary = false;
  bool operator==(const SnapshotRow&) const = default;
};

struct SnapshotRowOptions {
  std::optional<std::string> uuid;  ///< only this node and its ancestors, beginning with it
  bool snapshots_only = false;      ///< leave out the top; the current one is then its parent
};

/// Rows in the order of the descriptor. ExitCode::Create (1) when the UUID is unknown.
Result<std::vector<SnapshotRow>> snapshot_rows(const Disk& disk, const SnapshotRowOptions& options = {});

}  // namespace ploop::descriptor
