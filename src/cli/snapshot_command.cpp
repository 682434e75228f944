// ploop snapshot
#include "cli/snapshot_commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kSnapshotText = {
    "snapshot", "freeze the current state of a disk under a name",
    "snapshot [-u UUID] DiskDescriptor.xml\n"
    "snapshot -d DEVICE [-F] FILE",
    "The content of the disk as it is now becomes a snapshot; what is written from now\n"
    "on goes to a new image above it. Works while the disk is in use: its file system\n"
    "is frozen for a moment, so that the snapshot is clean. A disk can have 126\n"
    "snapshots below its current state.\n"
    "In the second form a device that was attached from a list of images gets a new\n"
    "image, FILE, on top; the caller keeps account of the list.\n"
    "\n"
    "Options:\n"
    "  -u UUID        name of the snapshot; made up when not given, and printed\n"
    "  -d DEVICE      the device, for example /dev/ploop0\n"
    "  -F             with -d: freeze the mounted file system meanwhile\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop snapshot /srv/disk/DiskDescriptor.xml\n"
    "  ploop snapshot-list /srv/disk/DiskDescriptor.xml\n"};

Parsed<SnapshotArguments> parse_snapshot(const Words& args) {
  std::optional<std::string> uuid, device;
  bool freeze = false;
  Arguments arguments(kSnapshotText);
  arguments.value("-u", uuid);
  arguments.value("-d", device);
  arguments.flag("-F", freeze);
  const Words operands = PARSED(arguments.parse(args));
  SnapshotArguments parsed;
  if (device) {
    if (uuid) return usage_error(kSnapshotText, "Options -d and -u can't be used together");
    if (operands.size() != 1)
      return usage_error(kSnapshotText, "The new image is missing, or there are several");
    parsed.device = ops::DeviceSnapshotOptions{*device, operands.front(), freeze};
    return parsed;
  }
  if (freeze)
    return usage_error(kSnapshotText, "Option -F needs -d; otherwise the file system is always frozen");
  if (uuid) parsed.disk.uuid = PARSED(parse_uuid_option(*uuid));
  parsed.disk.descriptor = PARSED(one_descriptor(kSnapshotText, operands));
  return parsed;
}

ExitCode run_snapshot(Console& console, const Words& args) {
  const auto parsed = parse_snapshot(args);
  if (!parsed) return stop(console, parsed.error());
  const Status done = parsed->device ? ops::snapshot_device(*parsed->device) : ops::snapshot(parsed->disk);
  if (!done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
