#include "descriptor/tree_edit.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ploop::descriptor {
namespace {

template <typename... Args>
tl::unexpected<Error> refuse(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ExitCode::Param, fmt::format(format, std::forward<Args>(args)...));
}

Status refuse_old_format(const Disk& disk) {
  if (disk.old_format()) return refuse("Snapshot is in old format");
  return {};
}

Image& image_of(Disk& disk, std::string_view uuid) {
  return *std::ranges::find_if(disk.images, [&](const Image& i) { return same_uuid(i.uuid, uuid); });
}
Shot& shot_of(Disk& disk, std::string_view uuid) {
  return *std::ranges::find_if(disk.shots, [&](const Shot& s) { return same_uuid(s.uuid, uuid); });
}

/// Gives a node another name, wherever it is mentioned.
void rename_node(Disk& disk, const std::string& from, const std::string& to) {
  const auto rename = [&](std::string& uuid) {
    if (same_uuid(uuid, from)) uuid = to;
  };
  for (Image& image : disk.images)
    rename(image.uuid);
  for (Shot& shot : disk.shots) {
    rename(shot.uuid);
    rename(shot.parent);
  }
}

/// Takes a node out; its file.
std::string remove_node(Disk& disk, const std::string& uuid) {
  std::string file = image_of(disk, uuid).file;
  std::erase_if(disk.images, [&](const Image& i) { return same_uuid(i.uuid, uuid); });
  std::erase_if(disk.shots, [&](const Shot& s) { return same_uuid(s.uuid, uuid); });
  return file;
}

void add_top(Disk& disk, const std::string& parent, const std::string& file) {
  disk.images.push_back({std::string(kTopUuid), file, {}});
  disk.shots.push_back({std::string(kTopUuid), parent, false, {}});
  disk.top_uuid = kTopUuid;
}

bool is_base(const Shot& shot) {
  return same_uuid(shot.parent, kNoUuid);
}

/// Everything that is merged into is used by what is merged only.
Status refuse_shared(const Disk& disk, const MergePlan& plan, std::string_view text) {
  for (std::size_t i = 1; i < plan.nodes.size(); ++i) {
    const std::size_t children = disk.children(plan.nodes[i]).size();
    if (children > 1) return refuse("{} {}: it has {} children", text, plan.nodes[i], children);
    if (same_uuid(plan.nodes[i], disk.top_uuid))
      return refuse("{} {}: it is the current state", text, plan.nodes[i]);
  }
  return {};
}

}  // namespace

std::string new_delta_file(const Disk& disk) {
  return disk.first_image().file + "." + generate_uuid();
}

const Image& top_image(const Disk& disk) {
  return *disk.find_image(disk.top_uuid);
}

Status plan_snapshot(const Disk& disk, std::string_view uuid) {
  if (disk.find_shot(uuid) != nullptr || same_uuid(uuid, kNoUuid))
    return refuse("The snapshot {} already exist", uuid);
  TRY(refuse_old_format(disk));
  if (TRY(disk.chain(disk.top_uuid)).size() > kMaxSnapshots) {
    return refuse(
        "Unable to create a snapshot. The maximum number of snapshots ({}) has been reached: merge some with "
        "'ploop snapshot-merge' first",
        kMaxSnapshots);
  }
  return {};
}

void add_snapshot(Disk& disk, const std::string& uuid, const std::string& file, bool temporary) {
  rename_node(disk, disk.top_uuid, uuid);
  shot_of(disk, uuid).temporary = temporary;
  add_top(disk, uuid, file);
}

Status plan_switch(const Disk& disk, std::string_view uuid) {
  TRY(refuse_old_format(disk));
  if (same_uuid(uuid, kTopUuid)) return refuse("Nothing to do, already on {} snapshot", uuid);
  const Shot* shot = disk.find_shot(uuid);
  if (shot == nullptr) return refuse("Can't find snapshot by uuid {}", uuid);
  if (shot->temporary) return refuse("Snapshot {} is temporary", uuid);
  return {};
}

std::string switch_top(Disk& disk, const std::string& uuid, const std::string& file) {
  const std::string parent = shot_of(disk, uuid).uuid;
  std::string old = remove_node(disk, disk.top_uuid);
  add_top(disk, parent, file);
  return old;
}

Result<DeletePlan> plan_delete(const Disk& disk, std::string_view uuid, bool top_is_running) {
  TRY(refuse_old_format(disk));
  const Shot* shot = disk.find_shot(uuid);
  if (shot == nullptr) return fail(ExitCode::NoSnapshot, fmt::format("Can't find snapshot by uuid {}", uuid));
  const std::vector<std::string> children = disk.children(shot->uuid);
  DeletePlan plan{DeleteAction::DropLeaf, shot->uuid, {}, children.size()};
  const bool top = same_uuid(shot->uuid, disk.top_uuid);
  // A top with children comes from the original, which could roll back to a node that others are based on.
  if (top && (top_is_running || !children.empty()))
    return refuse("Unable to delete active snapshot {}", uuid);
  if (children.empty()) {
    if (is_base(*shot)) return refuse("Unable to delete base image");
    if (top && disk.find_shot(shot->parent)->temporary) {
      return refuse("Unable to delete top delta, parent snapshot is temporary");
    }
    const bool alone = disk.children(shot->parent).size() == 1;
    if (top) plan.action = alone ? DeleteAction::RollBack : DeleteAction::Renew;
    if (top) plan.child = shot->parent;
  } else if (children.size() == 1) {
    plan.action = DeleteAction::MergeChild;
    plan.child = children.front();
  } else {
    plan.action = shot->temporary ? DeleteAction::StaysTemporary : DeleteAction::MarkTemporary;
  }
  return plan;
}

std::string drop_leaf(Disk& disk, const std::string& uuid) {
  return remove_node(disk, uuid);
}

std::string roll_back(Disk& disk) {
  const std::string parent = shot_of(disk, disk.top_uuid).parent;
  std::string file = remove_node(disk, disk.top_uuid);
  rename_node(disk, parent, std::string(kTopUuid));
  disk.top_uuid = kTopUuid;
  return file;
}

void mark_temporary(Disk& disk, const std::string& uuid) {
  shot_of(disk, uuid).temporary = true;
}

std::vector<std::string> surplus_temporaries(const Disk& disk) {
  std::vector<std::string> result;
  for (const Shot& shot : disk.shots) {
    if (shot.temporary && disk.children(shot.uuid).size() <= 1) result.push_back(shot.uuid);
  }
  return result;
}

Result<MergePlan> plan_merge_pair(const Disk& disk, std::string_view uuid) {
  const Shot* shot = disk.find_shot(uuid);
  const Shot* parent = shot == nullptr ? nullptr : disk.find_shot(shot->parent);
  if (parent == nullptr) return refuse("Can't find parent of uuid {} (is that a base image?)", uuid);
  MergePlan plan{{shot->uuid, parent->uuid}};
  TRY(refuse_shared(disk, plan, "Can't merge to snapshot"));
  return plan;
}

Result<MergePlan> plan_merge_range(const Disk& disk, std::string_view upper, std::string_view lower) {
  MergePlan plan;
  const Shot* shot = disk.find_shot(upper);
  while (shot != nullptr && plan.nodes.size() < kMaxChain) {
    plan.nodes.push_back(shot->uuid);
    if (plan.nodes.size() > 1 && same_uuid(shot->uuid, lower)) break;
    shot = disk.find_shot(shot->parent);
  }
  if (plan.nodes.size() < 2 || !same_uuid(plan.lower(), lower)) {
    return refuse("Can't find {} to be an ancestor of {}", lower, upper);
  }
  TRY(refuse_shared(disk, plan, "Unable to merge to"));
  return plan;
}

Result<MergePlan> plan_merge_all(const Disk& disk) {
  const auto base = std::ranges::find_if(disk.shots, is_base);
  return plan_merge_range(disk, disk.top_uuid, base->uuid);
}

std::vector<std::string> files_of(const Disk& disk, const MergePlan& plan) {
  std::vector<std::string> files;
  for (const std::string& uuid : plan.nodes)
    files.push_back(disk.find_image(uuid)->file);
  return files;
}

std::vector<std::string> merge_nodes(Disk& disk, const MergePlan& plan, const std::string& new_file) {
  const std::string upper = plan.upper();
  const Shot upper_shot = shot_of(disk, upper);
  const std::string grand_parent = shot_of(disk, plan.lower()).parent;
  std::vector<std::string> gone;
  // The lower entry keeps its place in the file: the first image names locks and new deltas.
  for (std::size_t i = 0; i + 1 < plan.nodes.size(); ++i)
    gone.push_back(remove_node(disk, plan.nodes[i]));
  Image& image = image_of(disk, plan.lower());
  Shot& shot = shot_of(disk, plan.lower());
  image.uuid = upper;
  shot = upper_shot;
  shot.parent = grand_parent;
  if (!new_file.empty()) {
    gone.push_back(image.file);
    image.file = new_file;
  }
  return gone;
}

}  // namespace ploop::descriptor
