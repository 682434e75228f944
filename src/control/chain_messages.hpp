// Changing the levels or the size of a running device: what commands ask and what the daemon's processes tell
// each other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"

namespace ploop::control {

/// The moment at which a change becomes true, also after a crash: the daemon renames `from` to `to` and makes
/// that durable while the device stands still. Both absolute, in one directory; both empty: there is nothing
/// to rename.
struct CommitPoint {
  std::string from;
  std::string to;
  [[nodiscard]] bool empty() const { return to.empty(); }
  bool operator==(const CommitPoint&) const = default;
};

/// What the device is to become. Each method uses its part.
struct ChainChange {
  std::vector<DeltaSpec>
      deltas;  ///< push_delta: the new top; set_lower: all levels below the top, base first
  std::vector<std::string>
      known;  ///< the device's images as the command knows them, base first; empty: does not matter
  std::uint64_t size_sectors = 0;  ///< grow
  std::uint32_t level = 0;         ///< lend
  CommitPoint commit;
  bool operator==(const ChainChange&) const = default;
};

std::vector<std::string> paths_of(const std::vector<DeltaSpec>& deltas);

/// ExitCode::Protocol for malformed text, ExitCode::Param for paths that are not absolute or a rename between
/// directories.
std::string encode_chain_change(const ChainChange& change);
Result<ChainChange> decode_chain_change(std::string_view text);

/// A command to the guardian, before it asks the worker for a change: what the guardian may do for the worker
/// then. The worker reads untrusted images, so it is not believed when it says what a command wants.
struct Permission {
  std::vector<DeltaSpec> deltas;  ///< files that may be opened so and become levels; where it says which
                                  ///< files they are, no others
  bool merge = false;             ///< the level below the top may be written and become the top
  CommitPoint commit;             ///< the rename that may be made
  bool operator==(const Permission&) const = default;
};
std::string encode_permission(const Permission& permission);
Result<Permission> decode_permission(std::string_view text);

/// Worker to guardian: the device as it is from now on, once the commit point is passed.
struct ChainState {
  std::vector<DeltaSpec> deltas;
  bool merging = false;  ///< the last delta is being drained into the one below
  std::uint64_t size_sectors = 0;
  CommitPoint commit;
  /// Levels whose files were opened for this change. The others stay the files that they are, also where a
  /// new one has the same name.
  std::vector<std::size_t> fresh = {};
};
std::string encode_chain_state(const ChainState& state);
Result<ChainState> decode_chain_state(std::string_view text);

/// What a device is busy with: OFF, SNAPSHOT, MERGE, REPLACE, GROW, RELOC or TRACK, and how far in bytes
/// where that is known.
struct MaintenanceState {
  std::string name = "OFF";
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};
std::string encode_maintenance(const MaintenanceState& state);
Result<MaintenanceState> decode_maintenance(std::string_view text);

}  // namespace ploop::control
