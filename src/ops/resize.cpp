#include "ops/resize.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/units.hpp"
#include "control/client.hpp"
#include "format/header.hpp"
#include "fs/balloon_file.hpp"
#include "fs/block_device.hpp"
#include "fs/detached_mount.hpp"
#include "fs/gpt.hpp"
#include "fs/partition.hpp"
#include "fs/resize.hpp"
#include "fs/usage.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/disk_use.hpp"
#include "ops/grow.hpp"
#include "ops/resize_steps.hpp"

namespace ploop::ops {
namespace {

/// File systems are made for this much.
constexpr std::uint64_t kMaxSectors = 16 * kTiB / kSectorSize;
/// Room that the original keeps free for tables and alignment, clusters.
constexpr std::uint64_t kSlackClusters = 4;
/// What the original counts for each inode that can't become part of a balloon.
constexpr std::uint64_t kInodeBytes = 256;

Result<std::uint64_t> rounded_size(std::uint64_t size_sectors, std::uint32_t cluster_sectors) {
  if (size_sectors > kMaxSectors) {
    return fail(ExitCode::Param,
                "An incorrect block device size is specified: " + std::to_string(size_sectors) +
                    " sectors. The maximum allowed size is " + std::to_string(kMaxSectors) + " sectors");
  }
  const std::uint64_t rounded = round_up(size_sectors, cluster_sectors);
  if (rounded <= kSlackClusters * cluster_sectors) {
    return fail(ExitCode::Param, "Unable to change image size to " + std::to_string(rounded) + " sectors");
  }
  return rounded;
}

Status empty_balloon(const MountedDisk& disk) {
  fs::BalloonFile balloon = TRY(fs::BalloonFile::open(disk.directory));
  if (TRY(balloon.size()).value == 0) return {};
  TRY(finish_discards(disk));
  return balloon.resize(Bytes{});
}

Status grow_running(OpenedDisk& disk, MountedDisk& mounted, std::uint64_t size_sectors) {
  const fs::FileSystemFacts facts = TRY(fs::read_facts(mounted.partition));
  TRY(fs::may_grow_mounted(facts));
  TRY(empty_balloon(mounted));
  TRY(grow_running_disk(disk, mounted.device, size_sectors));
  mounted.device.size_sectors = size_sectors;
  return fill_device(mounted);
}

/// How large the balloon has to be for a file system that looks like `size_sectors`.
Result<Bytes> wanted_balloon(const MountedDisk& disk, std::uint64_t size_sectors) {
  const fs::FileSystemFacts facts = TRY(fs::read_facts(disk.partition));
  const fs::Usage usage = TRY(fs::read_usage(disk.directory));
  const std::uint64_t have = facts.is_ext() ? facts.size().value : usage.blocks * usage.block_size;
  const std::uint64_t target = (size_sectors - kSlackClusters * disk.device.cluster_sectors) * kSectorSize;
  if (target >= have) return Bytes{};
  const std::uint64_t difference = have - target;
  const std::uint64_t overhead = facts.inodes * kInodeBytes;
  return Bytes{difference > overhead ? difference - overhead : difference};
}

Status shrink_running(const MountedDisk& disk, std::uint64_t size_sectors, const ProgressCallback& progress) {
  const Bytes wanted = TRY(wanted_balloon(disk, size_sectors));
  Bytes now;
  {
    const fs::BalloonFile balloon = TRY(fs::BalloonFile::open(disk.directory));
    now = TRY(balloon.size());
    if (TRY(balloon.rounded(wanted)).value == now.value) return {};
  }
  const fs::Usage usage = TRY(fs::read_usage(disk.directory));
  const std::uint64_t possible = now.value + usage.free_blocks * usage.block_size;
  if (wanted.value > possible) {
    return too_small(size_sectors, size_sectors + div_up(wanted.value - possible, kSectorSize));
  }
  TRY(change_balloon(disk, wanted, progress));
  const auto facts = fs::read_facts(disk.partition);
  if (facts && facts->is_ext()) {
    ignore(fs::set_reserved_blocks(disk.partition, Bytes{size_sectors * kSectorSize}),
           "root has a little more or less in reserve");
  }
  return {};
}

Status resize_mounted(OpenedDisk& disk, MountedDisk mounted, std::uint64_t size_sectors,
                      const ProgressCallback& progress) {
  const std::uint64_t device = mounted.device.size_sectors;
  if (size_sectors > device) return grow_running(disk, mounted, size_sectors);
  // Nothing to do for it but what was left undone.
  if (size_sectors == device) TRY(grow_running_disk(disk, mounted.device, size_sectors));
  TRY(fill_device(mounted));
  if (size_sectors == device) return empty_balloon(mounted);
  return shrink_running(mounted, size_sectors, progress);
}

}  // namespace

tl::unexpected<Error> too_small(std::uint64_t size_sectors, std::uint64_t minimum) {
  return fail(ExitCode::Param, "Unable to change image size to " + std::to_string(size_sectors) +
                                   " sectors, minimal size is " + std::to_string(minimum));
}

Status fill_device(const MountedDisk& disk) {
  if (disk.partition != disk.path) {
    const Sectors size{disk.device.size_sectors};
    const auto now = TRY(fs::read_partition(disk.path));
    // Other programs let it end nearer to the end of the disk, and the file system may need all of it.
    const bool longer =
        now &&
        now->length.value >
            TRY(fs::plan_resized_partition(now->start, size, disk.device.cluster_sectors)).length.value;
    fs::PartitionRange range;
    if (longer) {
      range = *now;
    } else {
      range = TRY(fs::resize_gpt(disk.path, size, disk.device.cluster_sectors));
    }
    const fs::BlockDevice partition = TRY(fs::inspect_block_device(disk.partition));
    if (partition.size != to_bytes(range.length)) TRY(fs::resize_kernel_partition(disk.path, range));
  }
  return fs::grow_mounted(disk.directory, disk.partition);
}

Status resize_running(OpenedDisk& disk, const DeviceState& device, std::uint64_t size_sectors,
                      const ProgressCallback& progress) {
  if (auto mounted = TRY(mounted_disk(device)))
    return resize_mounted(disk, *std::move(mounted), size_sectors, progress);
  const MountedDisk unmounted = TRY(mounted_disk(device, ""));
  fs::DetachedMount mount = TRY(fs::DetachedMount::create(unmounted.partition));
  MountedDisk mounted = unmounted;
  mounted.directory = mount.directory();
  TRY(resize_mounted(disk, std::move(mounted), size_sectors, progress));
  return mount.close();
}

Status resize(const ResizeOptions& options) {
  auto disk = std::make_optional(TRY(open_disk(options.descriptor)));
  const std::uint64_t size = TRY(rounded_size(options.size_sectors, disk->disk.cluster_sectors));
  const CleanupSection section;
  const DiskUse use = TRY(disk_use(disk->disk, disk->path));
  if (use.running) return resize_running(*disk, *use.running, size, options.progress);
  const std::vector<DeviceState> own = TRY(if_visible(devices_of(disk->disk, disk->path)));
  if (!own.empty()) return fail(ExitCode::Busy, "A snapshot of the disk is in use by " + device_names(own));
  if (size > disk->disk.size_sectors) {
    const std::string path = disk->path;
    disk.reset();
    GrowRequest request;
    request.size_sectors = size;
    request.target = path;
    TRY(grow(request));
    disk = TRY(open_disk(options.descriptor));
  }
  return resize_stopped(*disk, size, options.progress);
}

}  // namespace ploop::ops
