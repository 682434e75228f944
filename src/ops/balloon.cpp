#include "ops/balloon.hpp"

#include "base/log.hpp"
#include "control/client.hpp"
#include "fs/balloon.hpp"
#include "ops/give_back.hpp"
#include "ops/mounted_target.hpp"

namespace ploop::ops {
namespace {

Result<control::MaintenanceState> state_of(const MountedDisk& disk) {
  control::Client client = TRY(control::Client::connect(disk.device.number));
  return client.maintenance();
}

/// Everything under the balloon that is nothing but waste.
Result<BalloonCheck> examine(const MountedDisk& disk, bool give_back, const ProgressCallback& progress) {
  const fs::BalloonFile balloon = TRY(fs::BalloonFile::open(disk.directory));
  if (TRY(balloon.size()).value == 0) return BalloonCheck{.empty = true, .clusters = 0};
  if (disk.raw()) return fail(ExitCode::Param, "Ballooning for raw format is not supported");
  control::Client client = TRY(control::Client::connect(disk.device.number));
  const auto extents = TRY(balloon.unwritten());
  const std::uint64_t clusters = TRY(discard_extents(client, disk, extents, true));
  if (give_back && clusters > 0) {
    log(LogLevel::Progress, "Found {} free blocks", clusters);
    TRY(discard_extents(client, disk, extents));
    TRY(compact_image(client, ~std::uint64_t{0}, progress));
  }
  return BalloonCheck{.empty = false, .clusters = clusters};
}

}  // namespace

Result<Bytes> balloon_size(const BalloonTarget& target) {
  const MountedDisk disk = TRY(find_mounted(target));
  const auto balloon = TRY(fs::find_balloon(disk.directory));
  return balloon ? balloon->size : Bytes{};
}

Result<std::string> maintenance_name(const BalloonTarget& target) {
  const MountedDisk disk = TRY(find_mounted(target));
  return TRY(state_of(disk)).name;
}

Status clear_balloon(const BalloonTarget& target) {
  const std::string name = TRY(maintenance_name(target));
  if (name == "OFF") return {};
  return fail(ExitCode::Busy, "Can't clear: the device is in state " + name);
}

Result<std::string> complete_maintenance(const BalloonTarget& target, const ProgressCallback& progress) {
  const MountedDisk disk = TRY(find_mounted(target));
  control::Client client = TRY(control::Client::connect(disk.device.number));
  const std::string name = TRY(client.maintenance()).name;
  // A relocation belongs to the command that began it; this one joins in when that is gone.
  if (name == "RELOC") TRY(compact_image(client, ~std::uint64_t{0}, progress));
  return name;
}

Status set_balloon(const BalloonTarget& target, Bytes size, const ProgressCallback& progress) {
  return change_balloon(TRY(find_mounted(target)), size, progress);
}

Result<BalloonCheck> check_balloon(const BalloonTarget& target) {
  return examine(TRY(find_mounted(target)), false, {});
}

Result<BalloonCheck> repair_balloon(const BalloonTarget& target, const ProgressCallback& progress) {
  return examine(TRY(find_mounted(target)), true, progress);
}

}  // namespace ploop::ops
