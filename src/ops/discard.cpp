// `balloon discard`: the file system names its free space (FITRIM), the engine gives it up as the discards
// arrive, and what is left at the end of the image moves into the holes.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "fs/balloon.hpp"
#include "fs/usage.hpp"
#include "ops/balloon.hpp"
#include "ops/cancel.hpp"
#include "ops/give_back.hpp"
#include "ops/mounted_target.hpp"

namespace ploop::ops {
namespace {

constexpr std::uint64_t kFirstRoundClusters = 32;
/// No file system has reason to refuse pieces of this size.
constexpr std::uint64_t kSmallestPiece = 4096;

Result<struct stat> top_file(const MountedDisk& disk) {
  struct stat info {};
  const std::string& path = disk.device.deltas.back().path;
  if (::stat(path.c_str(), &info) != 0) return fail_errno(ExitCode::Stat, "stat " + path);
  return info;
}

/// By how much the file system's own defragmenter made the image longer. A missing program or a failure does
/// not matter.
Result<std::uint64_t> defragment(const MountedDisk& disk) {
  const std::uint64_t before = static_cast<std::uint64_t>(TRY(top_file(disk)).st_size);
  const auto ran =
      run_program({"e4defrag2", "-c", std::to_string(disk.cluster_bytes()), disk.partition, disk.directory});
  if (!ran) log(LogLevel::Progress, "Not defragmented: {}", ran.error().message());
  const std::uint64_t after = static_cast<std::uint64_t>(TRY(top_file(disk)).st_size);
  return after > before ? after - before : 0;
}

/// False: the file system has no piece as long as that, which some say with EINVAL. That of ext4 is a block
/// group at most: 8 MiB where blocks have 1 KiB.
Result<bool> trim(const MountedDisk& disk, std::uint64_t piece) {
  log(LogLevel::Command, "Trying to find free extents bigger than {} bytes", piece);
  const auto trimmed = fs::trim_free_space(disk.directory, Bytes{piece});
  if (trimmed) return true;
  if (trimmed.error().sys_errno == EINVAL && piece > kSmallestPiece) return false;
  return fail(trimmed.error());
}

/// Large pieces first: they are cheap and often enough.
Status trim_rounds(const MountedDisk& disk, control::Client& client, std::uint64_t min_bytes,
                   std::uint64_t enough_clusters) {
  std::uint64_t piece = std::max(kFirstRoundClusters * disk.cluster_bytes(), min_bytes);
  while (!cancel_requested()) {
    const bool trimmed = TRY(trim(disk, piece));
    if (piece <= min_bytes && (trimmed || min_bytes > disk.cluster_bytes())) return {};
    if (trimmed && enough_clusters != ~std::uint64_t{0} && TRY(client.compact(0)).left >= enough_clusters)
      return {};
    // Of a cluster that is longer than all of them, blocks can be given back.
    piece = piece > min_bytes ? std::max(piece / 2, min_bytes) : piece / 2;
  }
  return {};
}

Status discard_mounted(const MountedDisk& disk, const DiscardOptions& options) {
  if (disk.raw()) return fail(ExitCode::Param, "Discard for raw format is not supported");
  const std::uint64_t cluster = disk.cluster_bytes();
  std::uint64_t to_free = options.to_free.value;
  if (to_free != 0 && to_free < cluster) {
    return fail(ExitCode::Param, "Can't shrink by less than " + std::to_string(cluster) + " bytes");
  }
  if (options.defrag) {
    const std::uint64_t grown = TRY(defragment(disk));
    if (to_free != 0) to_free += grown;
  }
  const std::uint64_t enough = to_free == 0 ? ~std::uint64_t{0} : to_free / cluster;
  const std::uint64_t min_bytes = round_up(std::max(options.min_block.value, cluster), cluster);
  control::Client client = TRY(control::Client::connect(disk.device.number));
  TRY(trim_rounds(disk, client, min_bytes, enough));
  log(LogLevel::Progress, "Starting relocation");
  const Compacted done = TRY(compact_image(client, enough, options.progress));
  log(LogLevel::Progress, "{} clusters have been relocated", done.moved);
  return stop_if_cancelled();
}

Result<SpaceFacts> facts_of(const MountedDisk& disk) {
  SpaceFacts facts;
  if (const auto balloon = TRY(fs::find_balloon(disk.directory))) facts.balloon = balloon->size;
  const fs::Usage usage = TRY(fs::read_usage(disk.directory));
  const std::uint64_t device = disk.device.size_sectors * kSectorSize;
  facts.ploop = Bytes{device - std::min(device, facts.balloon.value)};
  facts.data = Bytes{facts.ploop.value - std::min(facts.ploop.value, usage.free_blocks * usage.block_size)};
  const struct stat info = TRY(top_file(disk));
  facts.image = Bytes{static_cast<std::uint64_t>(info.st_size)};
  facts.allocated = Bytes{static_cast<std::uint64_t>(info.st_blocks) * 512};
  return facts;
}

}  // namespace

Status discard_free_space(const DiscardOptions& options) {
  return with_mounted(options.target, options.automount,
                      [&](const MountedDisk& disk) { return discard_mounted(disk, options); });
}

Result<SpaceFacts> space_facts(const DiscardOptions& options) {
  SpaceFacts facts;
  const auto look = [&](const MountedDisk& disk) -> Status {
    facts = TRY(facts_of(disk));
    return {};
  };
  TRY(with_mounted(options.target, options.automount, look));
  return facts;
}

}  // namespace ploop::ops
