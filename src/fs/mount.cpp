#include "fs/mount.hpp"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <libmount.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <string_view>
#include <thread>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "fs/holders.hpp"
#include "fs/mount_table.hpp"

namespace ploop::fs {
namespace {

struct MountContextFree {
  void operator()(libmnt_context* c) const { mnt_free_context(c); }
};
struct ProbeFree {
  void operator()(blkid_probe p) const { blkid_free_probe(p); }
};
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, ProbeFree>;

std::string mount_options(const MountRequest& request, const std::string& type) {
  std::string options = request.options;
  const auto add = [&](const char* option) {
    if (mnt_optstr_get_option(options.c_str(), option, nullptr, nullptr) == 0) return;
    if (!options.empty()) options += ',';
    options += option;
  };
  if (request.read_only) add("ro");
  // Copies and snapshots of a disk share the UUID of its file system and are mounted side by side.
  if (type == "xfs") add("nouuid");
  if (!request.umount_helper.empty()) add(("helper=" + request.umount_helper).c_str());
  return options;
}

/// Refuses what makes libmount mount something else than the device (another loop device over it, for one),
/// or leaves the mount to another helper: nobody would find the device by such a mount again.
Status check_options(const std::string& options) {
  static constexpr std::string_view kOthers[] = {"loop", "offset",  "sizelimit", "bind",    "rbind",
                                                 "move", "remount", "helper",    "uhelper", "X-mount.subdir"};
  std::string list = options;
  char* rest = list.data();
  char* name = nullptr;
  std::size_t length = 0;
  while (mnt_optstr_next_option(&rest, &name, &length, nullptr, nullptr) == 0) {
    const std::string_view word(name, length);
    if (std::ranges::find(kOthers, word) == std::end(kOthers) && !word.starts_with("verity.")) continue;
    return fail(ExitCode::Mount,
                "Can't mount file system: option '" + std::string(word) + "' is not for a disk");
  }
  return {};
}

/// libmount's explanation of a failed mount, one line.
std::string explain(libmnt_context* context, int rc) {
  char text[512] = "";
  mnt_context_get_excode(context, rc, text, sizeof text);
  std::string line = text;
  std::replace(line.begin(), line.end(), '\n', ' ');
  while (!line.empty() && (line.back() == '.' || line.back() == ' '))
    line.pop_back();
  return line;
}

/// Who uses the file system mounted at `directory`, for a message; "" when nothing is found.
std::string busy_text(const std::string& directory) {
  const auto mount = mount_at(directory);
  if (!mount) return {};
  const std::string users = describe_holders(file_system_holders(mount->device));
  return users.empty() ? std::string() : directory + " is used by " + users;
}

/// umount(8) leaves that to its helper. A record that stays would make it run the helper for somebody else's
/// mount there.
void forget_record(const std::string& directory) {
  libmnt_update* update = mnt_new_update();
  if (update == nullptr) return;
  if (mnt_update_set_fs(update, 0, directory.c_str(), nullptr) == 0) mnt_update_table(update, nullptr);
  mnt_free_update(update);
}

}  // namespace

Status mount_filesystem(const MountRequest& request) {
  std::string type = request.type;
  if (type.empty()) {
    type = TRY(detect_filesystem(request.device));
    if (type.empty())
      return fail(ExitCode::Mount, "Can't mount file system: no known file system on " + request.device);
  }
  TRY(check_options(request.options));
  const std::string options = mount_options(request, type);
  log(LogLevel::Progress, "Mounting {} at {} fstype={} data='{}' {}", request.device, request.directory, type,
      request.options, request.read_only ? "ro" : "");

  std::unique_ptr<libmnt_context, MountContextFree> context(mnt_new_context());
  if (!context) return fail(ExitCode::Malloc, "mount");
  int rc = mnt_context_set_source(context.get(), request.device.c_str());
  if (rc == 0) rc = mnt_context_set_target(context.get(), request.directory.c_str());
  if (rc == 0) rc = mnt_context_set_fstype(context.get(), type.c_str());
  if (rc == 0 && !options.empty()) rc = mnt_context_set_options(context.get(), options.c_str());
  if (rc != 0)
    return fail(
        errno_error(ExitCode::Mount, -rc, "Can't mount file system: wrong options '" + options + "'"));
  // Exactly what was asked for: no helper program, no entry in fstab, no silent fall-back to read-only.
  mnt_context_disable_helpers(context.get(), 1);
  if (request.umount_helper.empty()) mnt_context_disable_mtab(context.get(), 1);
  mnt_context_set_optsmode(context.get(), MNT_OMODE_NOTAB);
  if (!request.read_only) mnt_context_enable_rwonly_mount(context.get(), 1);
  rc = mnt_context_mount(context.get());
  if (rc != 0)
    return fail(ExitCode::Mount,
                "Can't mount file system " + request.device + ": " + explain(context.get(), rc));
  return {};
}

Status unmount_filesystem(const std::string& directory, const UnmountOptions& options) {
  log(LogLevel::Progress, "Unmounting file system at {}", directory);
  for (int attempt = 0; ::umount2(directory.c_str(), UMOUNT_NOFOLLOW) != 0; ++attempt) {
    const int err = errno;
    const bool last = err != EBUSY || attempt >= options.retries;
    if (const std::string users = err == EBUSY ? busy_text(directory) : std::string(); !users.empty())
      log_line(last ? LogLevel::Error : LogLevel::Detail, users);
    if (last) return fail(errno_error(ExitCode::Umount, err, "Failed to umount " + directory));
    std::this_thread::sleep_for(options.pause);
    log(LogLevel::Detail, "Retrying umount {}", directory);
  }
  forget_record(directory);
  return {};
}

bool is_on_top(const MountPoint& mount) {
  const auto found = mount_at(mount.directory);
  return found && found->device == mount.device;
}

Status unmount_filesystem(const MountPoint& mount, const UnmountOptions& options) {
  const auto found = mount_at(mount.directory);
  if (found && found->device == mount.device) return unmount_filesystem(mount.directory, options);
  const std::string above = found ? found->type + " (" + found->source + ")" : "another file system";
  return fail(ExitCode::Umount, "Can't unmount " + mount.source + " at " + mount.directory + ": " + above +
                                    " is mounted over it");
}

Result<std::vector<MountPoint>> mount_points_of(dev_t device) {
  std::vector<MountPoint> found;
  for (MountRow& row : TRY(read_mount_table()))
    if (row.mount.device == device) found.push_back(std::move(row.mount));
  return found;
}

Result<std::vector<MountPoint>> mount_points() {
  std::vector<MountPoint> all;
  for (MountRow& row : TRY(read_mount_table()))
    all.push_back(std::move(row.mount));
  return all;
}

Result<MountPoint> mount_at(const std::string& directory) {
  const auto where = mount_of_path(directory);
  if (!where) return fail(errno_error(ExitCode::Param, where.error().sys_errno, directory));
  if (where->is_root) {
    for (MountRow& row : TRY(read_mount_table()))
      if (row.id == where->id) return std::move(row.mount);
  }
  return fail(ExitCode::Param, directory + " is not a mount point");
}

bool is_mount_point(const std::string& directory) {
  const auto where = mount_of_path(directory);
  return where && where->is_root;
}

Result<std::string> detect_filesystem(const std::string& device) {
  const Fd fd = TRY(open_file(device, O_RDONLY, 0, ExitCode::Device));
  Probe probe(blkid_new_probe());
  if (!probe || blkid_probe_set_device(probe.get(), fd.get(), 0, 0) != 0)
    return fail_errno(ExitCode::Device, "probe " + device);
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
  blkid_probe_filter_superblocks_usage(probe.get(), BLKID_FLTR_ONLYIN, BLKID_USAGE_FILESYSTEM);
  errno = 0;
  if (blkid_do_safeprobe(probe.get()) == -1 && errno != 0)
    return fail_errno(ExitCode::Device, "read " + device);
  const char* type = nullptr;
  if (blkid_probe_lookup_value(probe.get(), "TYPE", &type, nullptr) != 0 || type == nullptr)
    return std::string();
  return std::string(type);
}

}  // namespace ploop::fs
