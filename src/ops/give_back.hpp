// Giving the space of clusters back that the file system has no use for: discarding them, and a shorter image
// file. The steps that `balloon` and `resize` share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "control/client.hpp"
#include "fs/balloon_file.hpp"
#include "fs/live_root.hpp"
#include "ops/running.hpp"

namespace ploop::ops {

/// A running device and a way into its file system.
struct MountedDisk {
  DeviceState device;
  std::string path;                               ///< /dev/ploopN
  std::string partition;                          ///< what holds the file system
  std::string directory;                          ///< of the file system, good for this process
  std::shared_ptr<const fs::LiveRoot> root = {};  ///< keeps the directory good, where it was mounted before
  std::uint64_t partition_start = 0;              ///< bytes of the device

  [[nodiscard]] std::uint64_t cluster_bytes() const {
    return std::uint64_t{device.cluster_sectors} * kSectorSize;
  }
  [[nodiscard]] bool raw() const { return device.deltas.back().kind == control::ImageKind::Raw; }
};

/// Where the file system of a device is on it. ExitCode::Param for a damaged partition table.
Result<MountedDisk> mounted_disk(const DeviceState& device, const std::string& directory);
/// The same with the file system that is mounted from it, wherever; nothing when there is none.
Result<std::optional<MountedDisk>> mounted_disk(const DeviceState& device);

struct Compacted {
  std::uint64_t moved = 0;  ///< clusters
  std::uint64_t cut = 0;    ///< clusters that the file lost
};

/// Discards extents of the file system (or only counts, `dry`): the clusters that this gives back.
Result<std::uint64_t> discard_extents(control::Client& client, const MountedDisk& disk,
                                      const std::vector<fs::DeviceExtent>& extents, bool dry = false);

/// Waits until the device works on no discard any more, not even for a command that died: before blocks that
/// were given back are used again.
Status finish_discards(const MountedDisk& disk);

/// Makes the image file shorter, by so many clusters at most, until there is nothing to gain; ends early when
/// the command is cancelled. `progress` in bytes. Logs "TRUNCATED: N cluster-blocks (M bytes)".
Result<Compacted> compact_image(control::Client& client, std::uint64_t most_clusters = ~std::uint64_t{0},
                                const ProgressCallback& progress = {});

/// Changes the balloon: to a smaller size at once; to a larger one by allocating, discarding what lies under
/// it, and making the image shorter. Logs the historical lines. ExitCode::Param for a raw top, Fallocate,
/// Busy.
Status change_balloon(const MountedDisk& disk, Bytes size, const ProgressCallback& progress = {});

}  // namespace ploop::ops
