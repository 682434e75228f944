// `balloon`: the file inside a mounted disk that holds space back, and what can be given back because of it.
#pragma once

#include <cstdint>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::ops {

/// How the user named the disk. Device and directory may both be given and are then believed.
struct BalloonTarget {
  std::string device;
  std::string directory;
  std::string descriptor;
};

/// All of them need the file system mounted, and end with ExitCode::Param when it is not.
/// Bytes; 0 when there is no balloon.
Result<Bytes> balloon_size(const BalloonTarget& target);

/// OFF, MERGE, RELOC, ...
Result<std::string> maintenance_name(const BalloonTarget& target);

/// Nothing remains of an interrupted operation, so that there is nothing to clear; ExitCode::Busy while one
/// runs.
Status clear_balloon(const BalloonTarget& target);

/// Finishes what an interrupted command left. The state that it was about; "OFF" when there was nothing.
Result<std::string> complete_maintenance(const BalloonTarget& target, const ProgressCallback& progress);

Status set_balloon(const BalloonTarget& target, Bytes size, const ProgressCallback& progress);

struct BalloonCheck {
  bool empty = false;          ///< the balloon has no size
  std::uint64_t clusters = 0;  ///< that lie under it and use space of the image for nothing
};
Result<BalloonCheck> check_balloon(const BalloonTarget& target);
/// The same, and gives them back.
Result<BalloonCheck> repair_balloon(const BalloonTarget& target, const ProgressCallback& progress);

struct SpaceFacts {
  Bytes balloon;
  Bytes data;       ///< in use by files
  Bytes ploop;      ///< device less balloon
  Bytes image;      ///< length of the top image
  Bytes allocated;  ///< of it, on the host's disk
};

struct DiscardOptions {
  BalloonTarget target;
  bool automount = false;  ///< a disk that is not mounted is attached for the time
  Bytes to_free;           ///< enough; 0: everything
  Bytes min_block;         ///< smallest piece of free space that counts; rounded up to a cluster
  bool defrag = false;     ///< let the file system move its files together first
  ProgressCallback progress;
};
/// ExitCode::Param for less than a cluster.
Status discard_free_space(const DiscardOptions& options);
Result<SpaceFacts> space_facts(const DiscardOptions& options);

}  // namespace ploop::ops
