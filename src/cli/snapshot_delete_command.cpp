// ploop snapshot-delete
#include "cli/progress_meter.hpp"
#include "cli/snapshot_commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kSnapshotDeleteText = {
    "snapshot-delete", "remove a snapshot", "snapshot-delete -u UUID DiskDescriptor.xml",
    "The snapshot goes; the current state and all other snapshots keep their content.\n"
    "What others are based on is merged into them, which may take a while; the disk\n"
    "can be in use meanwhile. A snapshot with several branches above it is marked, and\n"
    "goes by itself when one of them is left.\n"
    "With the UUID of the current state itself, {5fbaabe3-6958-40ff-92a7-860e329aab41},\n"
    "a disk that is not mounted goes back to its last snapshot, which is used up.\n"
    "\n"
    "Options:\n"
    "  -u UUID        the snapshot\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop snapshot-delete -u {8ed4e1f9-...} /srv/disk/DiskDescriptor.xml\n"};

Parsed<ops::DeleteOptions> parse_snapshot_delete(const Words& args) {
  std::optional<std::string> uuid;
  Arguments arguments(kSnapshotDeleteText);
  arguments.value("-u", uuid);
  const Words operands = PARSED(arguments.parse(args));
  if (!uuid) return usage_error(kSnapshotDeleteText, "The snapshot (-u UUID) is missing");
  ops::DeleteOptions options;
  options.uuid = PARSED(parse_uuid_option(*uuid));
  options.descriptor = PARSED(one_descriptor(kSnapshotDeleteText, operands));
  return options;
}

ExitCode run_snapshot_delete(Console& console, const Words& args) {
  auto options = parse_snapshot_delete(args);
  if (!options) return stop(console, options.error());
  ProgressMeter meter(console, "Merging");
  options->progress = meter.callback();
  if (const Status done = ops::snapshot_delete(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
