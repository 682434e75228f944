#include "ops/snapshot_switch.hpp"

#include <unistd.h>

#include "base/log.hpp"
#include "descriptor/tree_edit.hpp"
#include "fs/usage.hpp"
#include "ops/cancel.hpp"
#include "ops/disk_use.hpp"
#include "ops/image_files.hpp"
#include "ops/new_delta.hpp"

namespace ploop::ops {

Status exchange_top(descriptor::Locked& locked, const std::string& op, const std::string& uuid) {
  const format::Header shape = TRY(shape_above(locked.disk, uuid));
  const std::string file = descriptor::new_delta_file(locked.disk);
  descriptor::Disk next = locked.disk;
  const std::string old = descriptor::switch_top(next, uuid, file);
  const auto claimed = TRY(claim_image(locked.disk, old));
  // The snapshot may be older than the last change of the disk's size.
  next.size_sectors = shape.size_sectors;
  next.cylinders = shape.cylinders;
  next.heads = shape.heads;

  Intent intent{.op = op, .uuid = uuid, .parameters = {{kRequest, uuid}}};
  intent.creates.push_back(TRY(intent_name(locked.path, file)));
  intent.consumes.push_back(TRY(intent_name(locked.path, old)));
  TRY(write_intent(locked.path, intent));
  Rollback rollback;
  rollback.add([&] { ignore(remove_intent(locked.path), "the first error is the one to report"); });
  rollback.add([&] { ignore(unstage_descriptor(locked.path), "the first error is the one to report"); });
  TRY(stage_descriptor(next, locked.path));
  TRY(create_delta(file, shape));
  rollback.add([&] { ::unlink(file.c_str()); });
  TRY(stop_if_cancelled());
  TRY(commit_descriptor(locked.path, rollback));
  locked.disk = std::move(next);
  ignore(fs::remove_usage_cache(locked.disk.directory), "the numbers are only for information");
  if (const Status removed = remove_image(locked.path, old); !removed)
    log_error("{}", removed.error().message());
  return remove_intent(locked.path);
}

Status snapshot_switch(const SwitchOptions& options) {
  OpenedDisk opened = TRY(open_disk(options.descriptor));
  if (opened.just_finished("snapshot-switch", options.uuid)) return {};
  TRY(descriptor::plan_switch(opened.disk, options.uuid));
  const DiskUse use = TRY(disk_use(opened.disk, opened.path));
  if (use.running) {
    return fail(ExitCode::Param, "Unable to perform switch to snapshot operation on running device (" +
                                     device_name(*use.running) + "): unmount it first");
  }
  TRY(free_node(use, opened.disk, opened.disk.top_uuid));
  const CleanupSection section;
  TRY(exchange_top(opened, "snapshot-switch", options.uuid));
  log(LogLevel::Progress, "ploop snapshot has been successfully switched");
  return {};
}

}  // namespace ploop::ops
