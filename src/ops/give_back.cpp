#include "ops/give_back.hpp"

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "fs/gpt.hpp"
#include "fs/partition.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"

namespace ploop::ops {
namespace {

/// One call to the device: short enough for a cancelled command to end soon.
constexpr std::uint64_t kStepBytes = 256 * kMiB;

Status give_back_unwritten(const MountedDisk& disk, const std::vector<fs::DeviceExtent>& extents,
                           const ProgressCallback& progress) {
  control::Client client = TRY(control::Client::connect(disk.device.number));
  if (TRY(discard_extents(client, disk, extents)) == 0) {
    log(LogLevel::Progress, "No unused cluster blocks found");
    return {};
  }
  TRY(compact_image(client, ~std::uint64_t{0}, progress));
  return {};
}

}  // namespace

Result<MountedDisk> mounted_disk(const DeviceState& device, const std::string& directory) {
  MountedDisk disk;
  disk.device = device;
  disk.path = device_name(device);
  disk.partition = disk.path;
  disk.directory = directory;
  if (const auto range = TRY(fs::read_partition(disk.path))) {
    disk.partition = partition_path(device.number, 1);
    disk.partition_start = to_bytes(range->start).value;
  }
  return disk;
}

Result<std::optional<MountedDisk>> mounted_disk(const DeviceState& device) {
  auto root = TRY(mounted_root(device));
  if (!root) return std::nullopt;
  MountedDisk disk = TRY(mounted_disk(device, root->directory()));
  disk.root = std::make_shared<const fs::LiveRoot>(*std::move(root));
  return disk;
}

Result<std::uint64_t> discard_extents(control::Client& client, const MountedDisk& disk,
                                      const std::vector<fs::DeviceExtent>& extents, bool dry) {
  std::uint64_t clusters = 0;
  for (const fs::DeviceExtent& range :
       fs::whole_clusters(extents, disk.partition_start, disk.cluster_bytes())) {
    for (std::uint64_t done = 0; done < range.length; done += kStepBytes) {
      TRY(stop_if_cancelled());
      const std::uint64_t length = std::min(kStepBytes, range.length - done);
      clusters += TRY(client.discard(range.offset + done, length, dry));
    }
  }
  return clusters;
}

Status finish_discards(const MountedDisk& disk) {
  if (disk.raw()) return {};
  control::Client client = TRY(control::Client::connect(disk.device.number));
  TRY(client.discard(0, 0));
  return {};
}

Result<Compacted> compact_image(control::Client& client, std::uint64_t most_clusters,
                                const ProgressCallback& progress) {
  Compacted total;
  control::CompactStep step = TRY(client.compact(0));
  total.cut = step.cut;
  const std::uint64_t cluster_bytes = step.cluster_bytes;
  const std::uint64_t goal = std::min(step.left, most_clusters);
  const std::uint64_t per_step = std::max<std::uint64_t>(1, kStepBytes / cluster_bytes);
  std::uint64_t gained = 0;
  while (gained < goal && !cancel_requested()) {
    report_progress(progress, gained * cluster_bytes, goal * cluster_bytes);
    step = TRY(client.compact(std::min(per_step, goal - gained)));
    total.moved += step.moved;
    total.cut += step.cut;
    gained += step.cut;
    // Others may write as fast as this moves; what it can't win it leaves.
    if (step.cut == 0) break;
  }
  report_progress(progress, goal * cluster_bytes, goal * cluster_bytes);
  log(LogLevel::Progress, "TRUNCATED: {} cluster-blocks ({} bytes)", total.cut, total.cut * cluster_bytes);
  return total;
}

Status change_balloon(const MountedDisk& disk, Bytes size, const ProgressCallback& progress) {
  fs::BalloonFile balloon = TRY(fs::BalloonFile::open(disk.directory));
  const Bytes old_size = TRY(balloon.size());
  const Bytes new_size = TRY(balloon.rounded(size));
  log(LogLevel::Progress, "Changing balloon size old_size={} new_size={}", old_size.value, new_size.value);
  if (new_size.value == old_size.value) {
    log(LogLevel::Progress, "Nothing to do: new_size == old_size");
    return {};
  }
  if (new_size.value < old_size.value) {
    TRY(finish_discards(disk));
    TRY(balloon.resize(new_size));
    log(LogLevel::Progress, "Successfully truncated balloon from {} to {} bytes", old_size.value,
        new_size.value);
    return {};
  }
  if (disk.raw()) return fail(ExitCode::Param, "Ballooning for raw format is not supported");
  TRY(balloon.resize(new_size));
  log(LogLevel::Progress, "Successfully inflated balloon from {} to {} bytes", old_size.value,
      new_size.value);
  return give_back_unwritten(disk, TRY(balloon.unwritten(old_size)), progress);
}

}  // namespace ploop::ops
