#include "descriptor/snapshot_rows.hpp"

namespace ploop::descriptor {
namespace {

SnapshotRow row_of(const Disk& disk, const Shot& shot, std::string_view current) {
  const Image* image = disk.find_image(shot.uuid);
  return {shot.parent, shot.uuid, image == nullptr ? std::string() : image->file,
          same_uuid(shot.uuid, current), shot.temporary};
}

}  // namespace

Result<std::vector<SnapshotRow>> snapshot_rows(const Disk& disk, const SnapshotRowOptions& options) {
  const Shot* top = disk.find_shot(disk.top_uuid);
  std::string current = disk.top_uuid;
  if (options.snapshots_only && top != nullptr) current = top->parent;

  std::vector<const Shot*> shots;
  if (options.uuid) {
    const Shot* shot = disk.find_shot(*options.uuid);
    if (shot == nullptr) return fail(ExitCode::Create, "Can't find snapshot by uuid " + *options.uuid);
    for (; shot != nullptr && shots.size() < kMaxChain; shot = disk.find_shot(shot->parent))
      shots.push_back(shot);
  } else {
    for (const Shot& shot : disk.shots)
      shots.push_back(&shot);
  }

  std::vector<SnapshotRow> rows;
  for (const Shot* shot : shots) {
    if (options.snapshots_only && shot == top) continue;
    rows.push_back(row_of(disk, *shot, current));
  }
  return rows;
}

}  // namespace ploop::descriptor
