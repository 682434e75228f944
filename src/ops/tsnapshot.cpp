#include "ops/tsnapshot.hpp"

#include "base/log.hpp"
#include "descriptor/tree_edit.hpp"
#include "ops/cancel.hpp"
#include "ops/snapshot.hpp"
#include "ops/snapshot_delete.hpp"

namespace ploop::ops {

namespace {

MountOptions mount_options(const TsnapshotOptions& options) {
  MountOptions mount;
  mount.read_only = true;
  mount.uuid.emplace(options.uuid);
  mount.component = "~" + options.component;
  mount.directory = options.directory;
  return mount;
}

}  // namespace

Result<MountResult> tsnapshot(const TsnapshotOptions& options) {
  const MountOptions mount = mount_options(options);
  if (mount.component.size() > control::kMaxComponentLength) {
    return fail(ExitCode::Param, "Component name too long: " + options.component);
  }
  OpenedDisk opened = TRY(open_disk(options.descriptor));
  TRY(descriptor::plan_snapshot(opened.disk, options.uuid));
  const CleanupSection section;
  TRY(drop_surplus(opened));
  const DiskUse use = TRY(disk_use(opened.disk, opened.path));
  if (with_component(TRY(if_visible(devices_of(opened.disk, opened.path))), mount.component)) {
    return fail(ExitCode::Mount,
                "There is a device with the component " + mount.component + " already: unmount it first");
  }
  TRY(take_snapshot(opened, use, options.uuid, true));
  auto mounted = mount_opened(opened, mount);
  if (mounted) return mounted;
  if (const Status merged = delete_node(opened, options.uuid, {}); !merged)
    log_error("{}", merged.error().message());
  return mounted;
}

}  // namespace ploop::ops
