// ploop snapshot
#include "cli/snapshot_commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kSnapshotText = {
    "snapshot", "freeze the current state of a disk under a name",
    "snapshot [-u UUID] DiskDescriptor.xml",
    "The content of the disk as it is now becomes a snapshot; what is written from now\n"
    "on goes to a new image above it. Works while the disk is in use: its file system\n"
    "is frozen for a moment, so that the snapshot is clean. A disk can have 126\n"
    "snapshots below its current state.\n"
    "\n"
    "Options:\n"
    "  -u UUID        name of the snapshot; made up when not given, and printed\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop snapshot /srv/disk/DiskDescriptor.xml\n"
    "  ploop snapshot-list /srv/disk/DiskDescriptor.xml\n"};

Parsed<ops::SnapshotOptions> parse_snapshot(const Words& args) {
  std::optional<std::string> uuid;
  Arguments arguments(kSnapshotText);
  arguments.value("-u", uuid);
  const Words operands = PARSED(arguments.parse(args));
  ops::SnapshotOptions options;
  if (uuid) options.uuid = PARSED(parse_uuid_option(*uuid));
  options.descriptor = PARSED(one_descriptor(kSnapshotText, operands));
  return options;
}

ExitCode run_snapshot(Console& console, const Words& args) {
  const auto options = parse_snapshot(args);
  if (!options) return stop(console, options.error());
  if (const Status done = ops::snapshot(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
