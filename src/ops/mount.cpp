#include "ops/mount.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/launcher.hpp"
#include "descriptor/store.hpp"
#include "fs/block_device.hpp"
#include "fs/mkfs.hpp"
#include "fs/usage.hpp"
#include "ops/attach.hpp"
#include "ops/cancel.hpp"
#include "ops/convert.hpp"
#include "ops/prepare.hpp"
#include "ops/recover.hpp"
#include "ops/running.hpp"
#include "ops/snapshot_delete.hpp"
#include "ops/stale.hpp"

namespace ploop::ops {
namespace {

Status check_mount_point(const std::string& directory) {
  if (directory.empty()) return {};
  TRY(clear_dead_mount(directory));
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) {
    return fail_errno(ExitCode::Param, "Failed to stat mount point " + directory);
  }
  if (!S_ISDIR(info.st_mode)) return fail(ExitCode::Param, "Mount point " + directory + " not a directory");
  return {};
}

/// The parts of the order that do not depend on where the images come from.
Result<control::AttachSpec> basic_spec(const MountOptions& options) {
  control::AttachSpec spec;
  if (!options.device.empty()) {
    spec.device_number = device_number(options.device);
    if (spec.device_number < 0 || spec.device_number > control::kMaxDeviceNumber) {
      return fail(ExitCode::Param, "Invalid device " + options.device + ": give it as /dev/ploopN");
    }
  }
  if (options.component.size() > control::kMaxComponentLength) {
    return fail(ExitCode::Param, "Component name too long: " + options.component);
  }
  spec.component = options.component;
  spec.read_only = options.read_only;
  spec.transport = options.transport;
  spec.require_sandbox = options.require_sandbox;
  spec.on_enospc = options.on_enospc;
  return spec;
}

Status check_not_running(const descriptor::Locked& locked, const std::string& component) {
  const auto device = with_component(TRY(devices_of(locked.disk, locked.path)), component);
  if (!device) return {};
  return fail(ExitCode::Mount,
              "Image " + locked.disk.first_image().file + " already used by device " + device_name(*device));
}

/// The node to attach: exists, and nobody's data depends on it when it is to be written.
Result<std::string> choose_node(const descriptor::Disk& disk, const MountOptions& options) {
  const std::string uuid = options.uuid.value_or(disk.top_uuid);
  if (disk.find_image(uuid) == nullptr) return fail(ExitCode::NoSnapshot, "Uuid " + uuid + " not found");
  const std::size_t children = disk.children(uuid).size();
  if (!options.read_only && children != 0) {
    return fail(ExitCode::Param, "Unable to mount (rw) snapshot " + uuid + ": it has " +
                                     std::to_string(children) + (children == 1 ? " child" : " children"));
  }
  return uuid;
}

void warn_about_host(const std::vector<control::DeltaSpec>& deltas) {
  std::vector<dev_t> seen;
  for (const control::DeltaSpec& delta : deltas) {
    const auto host = fs::host_file_system(delta.path);
    if (!host || std::ranges::count(seen, host->device) != 0) continue;
    seen.push_back(host->device);
    if (host->data_writeback) {
      log_error("Warning: {} lies on a file system mounted with data=writeback: a power cut can damage it",
                delta.path);
    }
  }
}

Status refuse_encrypted(const descriptor::Disk& disk, const MountOptions& options) {
  if (disk.key_id.empty() || (options.directory.empty() && !options.fsck)) return {};
  return fail(ExitCode::Crypt, "The file system is encrypted with key " + disk.key_id +
                                   ": mount without -m and -F, then open the partition with cryptsetup");
}

/// Of a snapshot whose disk may be mounted, too. XFS knows file systems by UUID and mounts each once, and one
/// that was frozen for the snapshot has everything in place, but a log that wants to be replayed, which a
/// read-only device does not allow.
Status mount_beside(fs::MountRequest request) {
  const std::string type = request.type.empty() ? TRY(fs::detect_filesystem(request.device)) : request.type;
  if (type == "xfs")
    request.options += (request.options.empty() ? "" : ",") + std::string("nouuid,norecovery");
  return fs::mount_filesystem(request);
}

/// -F and -m, on a device that is attached.
Status mount_file_system(const MountOptions& options, const Attached& attached) {
  if (options.fsck) {
    const std::string type =
        options.fs_type.empty() ? TRY(fs::detect_filesystem(attached.file_system())) : options.fs_type;
    if (type.starts_with("ext") && !options.read_only) TRY(fs::check_ext_filesystem(attached.file_system()));
    TRY(stop_if_cancelled());
  }
  if (options.directory.empty()) return {};
  fs::MountRequest request{.device = attached.file_system(),
                           .directory = options.directory,
                           .type = options.fs_type,
                           .options = options.fs_options,
                           .read_only = options.read_only,
                           .umount_helper = options.umount_helper};
  if (options.read_only && !options.component.empty()) return mount_beside(std::move(request));
  Status mounted = fs::mount_filesystem(request);
  if (mounted || !options.read_only) return mounted;
  // The usual reason: a file system that was not unmounted wants to replay its journal and can't.
  Error error = std::move(mounted).error();
  error.what += "; after a crash mount it once without -r, or with -o noload (ext4), -o norecovery (xfs)";
  return fail(std::move(error));
}

Result<MountResult> attach_and_mount(const control::AttachSpec& spec, const MountOptions& options) {
  Attached attached = TRY(attach(spec));
  Rollback rollback;
  rollback.add([&] { ignore(detach(attached.state), "the first error is the one to report"); });
  TRY(mount_file_system(options, attached));
  TRY(attached.lifeline.keep());
  rollback.commit();
  return MountResult{attached.device, attached.file_system()};
}

Result<MountResult> mount_descriptor(const MountOptions& options) {
  TRY(basic_spec(options));
  OpenedDisk opened = TRY(open_disk(options.operands.front(), {.recovery = Recovery::TopSuffices}));
  MountResult result = TRY(mount_opened(opened, options));
  if (options.component.empty() && !options.read_only) {
    if (const Status dropped = drop_surplus(opened); !dropped) log_error("{}", dropped.error().message());
  }
  return result;
}

Result<MountResult> mount_list(const MountOptions& options) {
  if (options.uuid) return fail(ExitCode::Param, "Option -u is only applicable to DiskDescriptor.xml syntax");
  if (options.raw && !options.cluster_sectors) return fail(ExitCode::Param, "Blocksize is not specified");
  control::AttachSpec spec = TRY(basic_spec(options));
  spec.component.clear();
  TRY(check_mount_point(options.directory));
  for (const std::string& operand : options.operands) {
    std::string path = TRY(canonical_path(operand, ExitCode::Open));
    spec.deltas.push_back({std::move(path)});
  }
  if (options.raw) spec.deltas.front().kind = control::ImageKind::Raw;
  spec.deltas.back().read_only = options.read_only;
  if (options.cluster_sectors) spec.raw_cluster_sectors = *options.cluster_sectors;
  const CleanupSection section;
  TRY(refuse_unsound(spec.deltas));
  return attach_and_mount(spec, options);
}

}  // namespace

Result<MountResult> mount_opened(const descriptor::Locked& locked, const MountOptions& options) {
  control::AttachSpec spec = TRY(basic_spec(options));
  const descriptor::Disk& disk = locked.disk;
  TRY(check_not_running(locked, options.component));
  const std::string uuid = TRY(choose_node(disk, options));
  TRY(refuse_half_done(locked.path, uuid));
  TRY(check_mount_point(options.directory));
  TRY(refuse_encrypted(disk, options));
  spec.deltas = TRY(chain_deltas(disk, uuid, {options.allow_external}));
  spec.deltas.back().read_only = options.read_only;
  spec.raw_cluster_sectors = disk.cluster_sectors;
  spec.descriptor = locked.path;
  warn_about_host(spec.deltas);

  const CleanupSection section;
  TRY(restore_versions(disk));
  TRY(repair_chain(spec.deltas, !options.read_only));
  MountResult result = TRY(attach_and_mount(spec, options));
  // From now on the numbers in the cache are not those of the file system any more.
  if (options.component.empty() && (!options.read_only || !options.directory.empty())) {
    if (const Status removed = fs::remove_usage_cache(disk.directory); !removed) {
      log_error("{}", removed.error().message());
    }
  }
  return result;
}

Result<MountResult> mount(const MountOptions& options) {
  clean_up_dead_devices();
  const bool one_descriptor =
      options.operands.size() == 1 && descriptor::is_descriptor_name(options.operands.front());
  return one_descriptor ? mount_descriptor(options) : mount_list(options);
}

Status require_daemon() {
  TRY(control::find_daemon());
  return {};
}

bool is_mount_point(const std::string& directory) {
  return fs::is_mount_point(directory);
}

}  // namespace ploop::ops
