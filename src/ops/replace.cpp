#include "ops/replace.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/client.hpp"
#include "descriptor/image_path.hpp"
#include "image/delta.hpp"
#include "image/same.hpp"
#include "io/posix_file.hpp"
#include "ops/cancel.hpp"
#include "ops/disk_use.hpp"
#include "ops/image_files.hpp"
#include "ops/live_chain.hpp"
#include "ops/prepare.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {
namespace {

using control::Client;
using control::DeltaSpec;

/// One exchange of files.
struct Exchange {
  std::string old_file;  ///< canonical
  std::string new_file;
  bool raw = false;
};

Result<std::string> resolve_new(const std::string& name) {
  std::string path = TRY(canonical_path(name, ExitCode::Param));
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(ExitCode::Param, name + " is not a regular file");
  return path;
}

dev_t file_system_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_dev : 0;
}

/// Sound, closed, and the same as the old one.
Status examine(const Exchange& x, const ReplaceRequest& request) {
  if (x.old_file == x.new_file) return fail(ExitCode::Param, x.new_file + " is the image already");
  if (!x.raw) {
    TRY(refuse_unsound({{x.new_file, control::ImageKind::Ploop1, true}}));
    auto file = TRY(io::PosixFile::open(x.new_file, {}));
    TRY(image::Delta::open(std::move(file), image::Kind::Ploop1, {}));
  }
  if (request.keep_name && file_system_of(x.old_file) != file_system_of(x.new_file)) {
    return fail(errno_error(ExitCode::Rename, EXDEV, "Can't rename " + x.new_file + " to " + x.old_file));
  }
  const auto old_file = TRY(io::PosixFile::open(x.old_file, {}));
  const auto new_file = TRY(io::PosixFile::open(x.new_file, {}));
  TRY(image::same_shape(*old_file, *new_file, x.raw));
  if (!request.compare) return {};
  image::CompareOptions options;
  options.raw = x.raw;
  options.cancelled = cancel_requested;
  options.progress = request.progress;
  return image::same_content(*old_file, *new_file, options);
}

/// Whoever made the file may not have waited for the disk.
Status make_durable(const std::string& path) {
  const Fd fd = TRY(open_file(path, O_RDONLY));
  if (::fsync(fd.get()) != 0) return fail_errno(ExitCode::Fsync, "fsync " + path);
  return sync_parent_directory(path);
}

/// The new file gets the old one's name. With `swap` the old one stays under the new one's name, where the
/// file system can do that.
Status rename_over(const Exchange& x, bool swap) {
  const char* from = x.new_file.c_str();
  const char* to = x.old_file.c_str();
  const bool swapped = swap && ::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0;
  if (!swapped && ::rename(from, to) != 0)
    return fail_errno(ExitCode::Rename, "rename " + x.new_file + " to " + x.old_file);
  TRY(sync_parent_directory(x.old_file));
  return sync_parent_directory(x.new_file);
}

/// All levels below the top with the new file at `level`.
std::vector<DeltaSpec> lower_with(const DeviceState& device, std::size_t level, const std::string& path) {
  std::vector<DeltaSpec> lower(device.deltas.begin(), device.deltas.end() - 1);
  lower[level] = new_level(device, path, lower[level].kind, true);
  return lower;
}

/// After a failure that leaves it open: which file the device has by now.
bool has_taken(const DeviceState& device, std::size_t level, const DeltaSpec& wanted) {
  Result<Client> successor = Client::connect(device.number);
  const Result<DeviceState> now = successor ? successor->info() : fail(successor.error());
  return now && wanted.file && level < now->deltas.size() && now->deltas[level].file == wanted.file;
}

/// Under a running device, the name stays: the files change names first, which harms nobody since they are
/// the same.
Status swap_keeping_name(Client& client, const DeviceState& device, std::size_t level, const Exchange& x) {
  // Refused before the names change: a level that a merge is writing must keep its file.
  TRY(wait_until_idle(client, device));
  TRY(rename_over(x, true));
  const std::vector<DeltaSpec> lower = lower_with(device, level, x.old_file);
  if (Status set = client.set_lower(device.deltas, lower, {});
      !set && !has_taken(device, level, lower[level])) {
    ignore(rename_over(x, true), "the device goes on with the file that it has");
    return set;
  }
  if (::unlink(x.new_file.c_str()) != 0 && errno != ENOENT)
    return fail_errno(ExitCode::Unlink, "remove " + x.new_file);
  return sync_parent_directory(x.new_file);
}

Status check_level(const DeviceState& device, std::size_t level) {
  const std::size_t top = device.deltas.size() - 1;
  if (level < top) return {};
  if (top == 0)
    return fail(ExitCode::Param,
                "The top image of a running device can't be replaced, and it has no other: umount it first");
  return fail(ExitCode::Param, "Invalid level " + std::to_string(level) +
                                   " specified, allowed values are 0 to " + std::to_string(top - 1));
}

/// The descriptor, with the new file's name in it.
descriptor::Disk renamed(const descriptor::Disk& disk, const std::string& uuid, const std::string& file) {
  descriptor::Disk next = disk;
  for (descriptor::Image& image : next.images) {
    if (same_uuid(image.uuid, uuid)) image.file = file;
  }
  return next;
}

void log_exchange(const Exchange& x, const std::string& how) {
  log(LogLevel::Progress, "Replacing {} with {} ({})", x.old_file, x.new_file, how);
}

Status exchange_stopped(const OpenedDisk& disk, const std::string& uuid, const Exchange& x, bool keep_name) {
  // A device that is not known here may write to it.
  const auto unwritten = TRY(open_image_file(x.old_file, false));
  log_exchange(x, "offline, level -1");
  if (keep_name) return rename_over(x, false);
  descriptor::Disk next = renamed(disk.disk, uuid, x.new_file);
  TRY(stage_descriptor(next, disk.path));
  return commit_descriptor(disk.path);
}

Status exchange_running(const OpenedDisk& disk, const std::string& uuid, const DeviceState& device,
                        std::size_t level, const Exchange& x, bool keep_name) {
  log_exchange(x, "online, level " + std::to_string(level));
  Client client = TRY(Client::connect(device.number));
  if (keep_name) return swap_keeping_name(client, device, level, x);
  descriptor::Disk next = renamed(disk.disk, uuid, x.new_file);
  TRY(stage_descriptor(next, disk.path));
  Rollback rollback;
  rollback.add([&] { ignore(unstage_descriptor(disk.path), "the first error is the one to report"); });
  const control::CommitPoint commit = TRY(commit_point(disk.path));
  const Status set = client.set_lower(device.deltas, lower_with(device, level, x.new_file), commit);
  if (!set && !TRY(took_place(disk.path, x.new_file, true, rollback))) return set;
  rollback.commit();
  return {};
}

/// UUID of the image that is meant.
Result<std::string> choose(const OpenedDisk& disk, const DiskUse& use, const ReplaceRequest& request) {
  std::string wanted;
  if (request.uuid) {
    if (disk.disk.find_image(*request.uuid) == nullptr) {
      return fail(ExitCode::Param, "Can't find snapshot by uuid " + *request.uuid);
    }
    return *request.uuid;
  }
  if (request.level) {
    if (!use.running) return fail(ExitCode::Param, "Can't specify level for offline replace");
    TRY(check_level(*use.running, *request.level));
    for (const descriptor::Image& image : disk.disk.images) {
      const NamedFile file(image.file);
      const DeltaSpec& level = use.running->deltas[*request.level];
      if (is_level(level, file) || level.path == file.path) return image.uuid;
    }
    wanted = use.running->deltas[*request.level].path;
  } else {
    const std::string& file = *request.current;
    const std::string absolute = file.starts_with("/") ? file : disk.disk.directory + "/" + file;
    wanted = canonical_path(absolute, ExitCode::Param).value_or(absolute);
  }
  for (const descriptor::Image& image : disk.disk.images) {
    if (real_file(disk.disk, image.file) == wanted) return image.uuid;
  }
  return fail(ExitCode::Param, "Can't find image " + wanted + " in " + disk.path);
}

Status refuse_known_file(const descriptor::Disk& disk, const std::string& path) {
  for (const descriptor::Image& image : disk.images) {
    if (real_file(disk, image.file) == path)
      return fail(ExitCode::Param, path + " is an image of this disk already");
  }
  return {};
}

/// mount uses no image outside of the disk's directory unless it is told to.
void warn_outside(const descriptor::Disk& disk, const std::string& path) {
  if (intent_name(disk.directory + "/" + std::string(descriptor::kFileName), path)) return;
  log_error("Warning: {} lies outside of {}: mount it with --allow-external={}", path, disk.directory, path);
}

/// By its name, too: a replacement that was killed may have left another file there.
std::optional<std::size_t> level_named(const DeviceState& device, const std::string& file) {
  if (const auto level = level_of(device, file)) return level;
  const auto named = std::ranges::find_if(device.deltas, [&](const DeltaSpec& d) { return d.path == file; });
  if (named == device.deltas.end()) return std::nullopt;
  return static_cast<std::size_t>(named - device.deltas.begin());
}

/// `expected`: the command named the device, and the descriptor only follows from that.
Status replace_in_disk(const ReplaceRequest& request, const std::string& descriptor,
                       const DeviceState* expected = nullptr) {
  const OpenedDisk disk = TRY(open_disk(descriptor));
  Exchange x;
  x.new_file = TRY(resolve_new(request.new_file));
  const DiskUse use = TRY(disk_use(disk.disk, disk.path));
  if (expected != nullptr) TRY(confirm_running(use, *expected, disk.path));
  const std::string uuid = TRY(choose(disk, use, request));
  TRY(refuse_known_file(disk.disk, x.new_file));
  x.old_file = real_file(disk.disk, disk.disk.find_image(uuid)->file);
  x.raw = disk.disk.base_is_raw() && same_uuid(disk.disk.find_shot(uuid)->parent, kNoUuid);
  std::optional<std::size_t> level;
  if (use.running) level = level_named(*use.running, x.old_file);
  if (level) TRY(check_level(*use.running, *level));
  if (!use.running) log(LogLevel::Command, "Can't find running ploop device, doing offline replace");
  const CleanupSection section;
  TRY(examine(x, request));
  TRY(make_durable(x.new_file));
  TRY(stop_if_cancelled());
  if (!request.keep_name) warn_outside(disk.disk, x.new_file);
  return level ? exchange_running(disk, uuid, *use.running, *level, x, request.keep_name)
               : exchange_stopped(disk, uuid, x, request.keep_name);
}

/// A device that was attached from a list of images.
Status replace_in_device(const ReplaceRequest& request, const DeviceState& device) {
  std::optional<std::size_t> level = request.level;
  if (!level) level = level_of(device, TRY(canonical_path(*request.current, ExitCode::Param)));
  if (!level)
    return fail(ExitCode::Param, "Can't find image " + *request.current + " in " + device_name(device));
  TRY(check_level(device, *level));
  TRY(confirm_names(device));
  const DeltaSpec& old = device.deltas[*level];
  const Exchange x{old.path, TRY(resolve_new(request.new_file)), old.kind == control::ImageKind::Raw};
  const CleanupSection section;
  TRY(examine(x, request));
  TRY(make_durable(x.new_file));
  TRY(stop_if_cancelled());
  log_exchange(x, "online, level " + std::to_string(*level));
  Client client = TRY(Client::connect(device.number));
  return request.keep_name ? swap_keeping_name(client, device, *level, x)
                           : client.set_lower(device.deltas, lower_with(device, *level, x.new_file), {});
}

}  // namespace

Status replace(const ReplaceRequest& request) {
  if (!request.descriptor.empty()) return replace_in_disk(request, request.descriptor);
  const DeviceState device =
      TRY(request.device.empty() ? device_by_directory(request.directory) : device_by_name(request.device));
  // The descriptor must name what the device uses.
  return device.descriptor.empty() ? replace_in_device(request, device)
                                   : replace_in_disk(request, device.descriptor, &device);
}

}  // namespace ploop::ops
