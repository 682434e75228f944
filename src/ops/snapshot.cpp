#include "ops/snapshot.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/registry.hpp"
#include "descriptor/image_path.hpp"
#include "descriptor/tree_edit.hpp"
#include "ops/cancel.hpp"
#include "ops/image_files.hpp"
#include "ops/live_chain.hpp"
#include "ops/new_delta.hpp"
#include "ops/prepare.hpp"
#include "ops/snapshot_delete.hpp"

namespace ploop::ops {
namespace {

Result<format::Header> shape_of_device(const DeviceState& device) {
  return format::make_header(device.size_sectors, device.cluster_sectors,
                             device.version == 1 ? format::Version::V1 : format::Version::V2);
}

/// A running disk does not miss the names of its files; the descriptor that a snapshot stores would.
Status refuse_missing(const descriptor::Disk& disk, const DiskUse& use) {
  for (const std::string& file : TRY(disk.chain(disk.top_uuid))) {
    if (file_id(file)) continue;
    const std::string owner =
        use.running ? device_name(*use.running) + " still has it, but after that the disk can't be used" : "";
    return fail(errno_error(
        ExitCode::Open, errno,
        "Can't snapshot a disk that misses an image, " + file + (owner.empty() ? "" : " (" + owner + ")")));
  }
  return {};
}

/// What the new top must be like. Of a stopped disk: a top that a crash left marked is repaired first, and
/// one that somebody else works on is refused.
Result<format::Header> shape_of_top(const descriptor::Disk& disk, const DiskUse& use) {
  TRY(refuse_missing(disk, use));
  if (use.running) return shape_of_device(*use.running);
  const std::string path = TRY(descriptor::image_path(disk.directory, descriptor::top_image(disk).file));
  control::DeltaSpec top{path, control::ImageKind::Ploop1, false};
  if (disk.base_is_raw() && disk.images.size() == 1) top.kind = control::ImageKind::Raw;
  TRY(repair_chain({top}, true));
  // A device that is not known here may write to it, also to one that carries no mark.
  TRY(open_image_file(path, false));
  return shape_above(disk, disk.top_uuid);
}

/// Of a stopped disk the command commits, of a running one the device does.
Status commit(const descriptor::Locked& locked, const DiskUse& use, const std::string& file,
              Rollback& rollback) {
  if (!use.running) return commit_descriptor(locked.path, rollback);
  Status pushed = push_top(*use.running, file, TRY(commit_point(locked.path)));
  if (!pushed && !TRY(took_place(locked.path, file, true, rollback))) return pushed;
  rollback.commit();
  return {};
}

}  // namespace

Status take_snapshot(descriptor::Locked& locked, const DiskUse& use, const std::string& uuid,
                     bool temporary) {
  const format::Header shape = TRY(shape_of_top(locked.disk, use));
  const std::string file = descriptor::new_delta_file(locked.disk);
  descriptor::Disk next = locked.disk;
  descriptor::add_snapshot(next, uuid, file, temporary);

  Intent intent{.op = "snapshot", .uuid = uuid, .parameters = {{kRequest, uuid}}};
  intent.creates.push_back(TRY(intent_name(locked.path, file)));
  TRY(write_intent(locked.path, intent));
  Rollback rollback;
  rollback.add([&] { ignore(remove_intent(locked.path), "the first error is the one to report"); });
  log(LogLevel::Detail, "Adding snapshot {}", kTopUuid);
  rollback.add([&] { ignore(unstage_descriptor(locked.path), "the first error is the one to report"); });
  TRY(stage_descriptor(next, locked.path));
  TRY(create_delta(file, shape));
  rollback.add([&] { ::unlink(file.c_str()); });
  TRY(stop_if_cancelled());
  TRY(commit(locked, use, file, rollback));
  locked.disk = std::move(next);
  log(LogLevel::Progress, "ploop snapshot {} has been successfully created", uuid);
  return remove_intent(locked.path);
}

Status snapshot_device(const DeviceSnapshotOptions& options) {
  const int number = device_number(options.device);
  const auto device = number < 0 ? std::nullopt : TRY(control::find_device(number));
  if (!device) return fail(errno_error(ExitCode::Sysfs, ENODEV, "Can't find device " + options.device));
  if (!device->descriptor.empty()) {
    return fail(ExitCode::Param, options.device + " belongs to " + device->descriptor +
                                     ", which would not know of the new image: use "
                                     "'ploop snapshot " +
                                     device->descriptor + "'");
  }
  const std::string file = TRY(canonical_new_path(options.file, ExitCode::Open));
  const format::Header shape = TRY(shape_of_device(*device));
  struct stat info {};
  if (::lstat(file.c_str(), &info) == 0)
    return fail(errno_error(ExitCode::Open, EEXIST, "Can't create " + options.file));
  const CleanupSection section;
  TRY(create_delta(file, shape));
  Status pushed = push_top(*device, file, {}, options.freeze);
  // Without a descriptor only the device itself knows whether it uses the file.
  if (!pushed && TRY(devices_using(file)).empty()) ::unlink(file.c_str());
  return pushed;
}

Status snapshot(const SnapshotOptions& options) {
  OpenedDisk opened = TRY(open_disk(options.descriptor));
  if (options.uuid && opened.just_finished("snapshot", *options.uuid)) return {};
  const std::string uuid = options.uuid.value_or(generate_uuid());
  TRY(descriptor::plan_snapshot(opened.disk, uuid));
  const CleanupSection section;
  TRY(drop_surplus(opened));
  const DiskUse use = TRY(disk_use(opened.disk, opened.path));
  return take_snapshot(opened, use, uuid, false);
}

}  // namespace ploop::ops
