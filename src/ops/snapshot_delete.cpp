#include "ops/snapshot_delete.hpp"

#include "base/log.hpp"
#include "descriptor/image_path.hpp"
#include "descriptor/tree_edit.hpp"
#include "fs/usage.hpp"
#include "ops/cancel.hpp"
#include "ops/disk_use.hpp"
#include "ops/image_files.hpp"
#include "ops/new_delta.hpp"
#include "ops/snapshot_merge.hpp"
#include "ops/snapshot_switch.hpp"

namespace ploop::ops {
namespace {

using descriptor::DeleteAction;
using descriptor::DeletePlan;
using descriptor::Locked;

std::string request_of(const std::string& uuid) {
  return "delete " + uuid;
}

/// Stores a descriptor that does not name `file` any more, then removes the file.
Status store_and_remove(Locked& locked, descriptor::Disk next, const std::string& uuid,
                        const std::string& file) {
  const auto claimed = TRY(claim_image(locked.disk, file));
  Intent intent{.op = "snapshot-delete", .uuid = uuid, .parameters = {{kRequest, request_of(uuid)}}};
  intent.consumes.push_back(TRY(intent_name(locked.path, file)));
  TRY(write_intent(locked.path, intent));
  log(LogLevel::Detail, "del snapshot {}", uuid);
  if (Status stored = descriptor::store(next, locked.path); !stored) {
    // Old or new, which the next command finds out, too.
    if (stored.error().code != ExitCode::Fsync)
      ignore(remove_intent(locked.path), "the first error is the one to report");
    return stored;
  }
  locked.disk = std::move(next);
  TRY(remove_image(locked.path, file));
  TRY(remove_intent(locked.path));
  log(LogLevel::Progress, "ploop snapshot {} has been successfully deleted", uuid);
  return {};
}

Status drop_leaf(Locked& locked, const DiskUse& use, const DeletePlan& plan) {
  TRY(free_node(use, locked.disk, plan.uuid));
  descriptor::Disk next = locked.disk;
  const std::string file = descriptor::drop_leaf(next, plan.uuid);
  return store_and_remove(locked, std::move(next), plan.uuid, file);
}

Status roll_back(Locked& locked, const DiskUse& use, const DeletePlan& plan) {
  TRY(free_node(use, locked.disk, plan.uuid));
  TRY(free_node(use, locked.disk, plan.child));
  const format::Header shape = TRY(shape_above(locked.disk, plan.child));
  descriptor::Disk next = locked.disk;
  const std::string file = descriptor::roll_back(next);
  next.size_sectors = shape.size_sectors;
  next.cylinders = shape.cylinders;
  next.heads = shape.heads;
  ignore(fs::remove_usage_cache(locked.disk.directory), "the numbers are only for information");
  return store_and_remove(locked, std::move(next), plan.uuid, file);
}

/// The parent of the top has other children: it stays frozen.
Status renew_top(Locked& locked, const DiskUse& use, const DeletePlan& plan) {
  TRY(free_node(use, locked.disk, plan.uuid));
  TRY(exchange_top(locked, "snapshot-delete", plan.child));
  log(LogLevel::Progress, "ploop snapshot {} has been successfully deleted", plan.uuid);
  return {};
}

Status merge_child(Locked& locked, const DeletePlan& plan, const ProgressCallback& progress) {
  MergeOrder order;
  order.plan = TRY(descriptor::plan_merge_pair(locked.disk, plan.child));
  order.request = request_of(plan.uuid);
  order.progress = progress;
  TRY(merge_nodes(locked, order));
  log(LogLevel::Progress, "ploop snapshot has been successfully merged");
  return {};
}

Status mark_temporary(Locked& locked, const DeletePlan& plan) {
  log(LogLevel::Command,
      "Warning: Unable to delete snapshot {} as there are {} references to it; marking it as temporary "
      "instead",
      plan.uuid, plan.children);
  descriptor::Disk next = locked.disk;
  descriptor::mark_temporary(next, plan.uuid);
  TRY(descriptor::store(next, locked.path));
  locked.disk = std::move(next);
  return {};
}

Status carry_out(Locked& locked, const DiskUse& use, const DeletePlan& plan,
                 const ProgressCallback& progress) {
  const CleanupSection section;
  switch (plan.action) {
    case DeleteAction::DropLeaf:
      return drop_leaf(locked, use, plan);
    case DeleteAction::RollBack:
      return roll_back(locked, use, plan);
    case DeleteAction::Renew:
      return renew_top(locked, use, plan);
    case DeleteAction::MergeChild:
      return merge_child(locked, plan, progress);
    case DeleteAction::MarkTemporary:
      return mark_temporary(locked, plan);
    case DeleteAction::StaysTemporary:
      break;
  }
  log(LogLevel::Command,
      "Snapshot {} is marked as temporary already: it goes when all but one of its {} children have gone",
      plan.uuid, plan.children);
  return {};
}

}  // namespace

Status delete_node(Locked& locked, const std::string& uuid, const ProgressCallback& progress) {
  const DiskUse use = TRY(disk_use(locked.disk, locked.path));
  const DeletePlan plan = TRY(descriptor::plan_delete(locked.disk, uuid, use.running.has_value()));
  return carry_out(locked, use, plan, progress);
}

Status snapshot_delete(const DeleteOptions& options) {
  OpenedDisk opened = TRY(open_disk(options.descriptor));
  const std::string request = request_of(options.uuid);
  const bool done =
      opened.just_finished("snapshot-delete", request) || opened.just_finished("snapshot-merge", request);
  if (!done) TRY(delete_node(opened, options.uuid, options.progress));
  return drop_surplus(opened);
}

Status drop_surplus(Locked& locked) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string& uuid : descriptor::surplus_temporaries(locked.disk)) {
      const Status dropped = delete_node(locked, uuid, {});
      if (dropped) {
        again = true;
        break;
      }
      log(LogLevel::Command, "Temporary snapshot {} stays: {}", uuid, dropped.error().message());
      // Its merge is half done: nothing else can be begun before that is finished.
      if (TRY(read_intent(locked.path))) return dropped;
    }
  }
  return {};
}

}  // namespace ploop::ops
