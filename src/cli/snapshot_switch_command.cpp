// ploop snapshot-switch
#include "cli/snapshot_commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kSnapshotSwitchText = {
    "snapshot-switch", "go back to a snapshot", "snapshot-switch -u UUID DiskDescriptor.xml",
    "The disk's content becomes that of the snapshot. What was written since the last\n"
    "snapshot is lost: take one first to keep it. All snapshots stay, those above the\n"
    "chosen one as a branch. The disk must not be mounted.\n"
    "\n"
    "Options:\n"
    "  -u UUID        the snapshot\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop snapshot-switch -u {8ed4e1f9-...} /srv/disk/DiskDescriptor.xml\n"};

Parsed<ops::SwitchOptions> parse_snapshot_switch(const Words& args) {
  std::optional<std::string> uuid;
  Arguments arguments(kSnapshotSwitchText);
  arguments.value("-u", uuid);
  const Words operands = PARSED(arguments.parse(args));
  if (!uuid) return usage_error(kSnapshotSwitchText, "The snapshot (-u UUID) is missing");
  ops::SwitchOptions options;
  options.uuid = PARSED(parse_uuid_option(*uuid));
  options.descriptor = PARSED(one_descriptor(kSnapshotSwitchText, operands));
  return options;
}

ExitCode run_snapshot_switch(Console& console, const Words& args) {
  const auto options = parse_snapshot_switch(args);
  if (!options) return stop(console, options.error());
  if (const Status done = ops::snapshot_switch(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
