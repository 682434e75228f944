// ploop snapshot-merge
#include "cli/progress_meter.hpp"
#include "cli/snapshot_commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kSnapshotMergeText = {
    "snapshot-merge", "merge a snapshot, or the current state, into the one below",
    "snapshot-merge [-u UUID [-U UUID2] | -A] [-n NEWFILE] DiskDescriptor.xml",
    "Data flows down: the lower image gets what the upper one has and survives under the\n"
    "upper one's UUID; the lower snapshot is gone. Without options the current state is\n"
    "merged into the last snapshot. The disk can be in use meanwhile. A merge that is\n"
    "interrupted loses nothing: the next command on the disk goes on with it.\n"
    "\n"
    "Options:\n"
    "  -u UUID        merge this snapshot into its parent\n"
    "  -U UUID2       into this ancestor, with everything between\n"
    "  -A             everything into the base, so that no snapshot is left\n"
    "  -n NEWFILE     merge into a new image, which takes the place of the lowest one; it\n"
    "                 must be in the disk's directory\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop snapshot-merge -A /srv/disk/DiskDescriptor.xml\n"
    "  ploop snapshot-merge -u {8ed4e1f9-...} /srv/disk/DiskDescriptor.xml\n"};

Parsed<ops::SnapshotMergeOptions> parse_snapshot_merge(const Words& args) {
  std::optional<std::string> uuid, lower, new_file;
  ops::SnapshotMergeOptions options;
  Arguments arguments(kSnapshotMergeText);
  arguments.value("-u", uuid);
  arguments.value("-U", lower);
  arguments.value("-n", new_file);
  arguments.flag("-A", options.all);
  const Words operands = PARSED(arguments.parse(args));
  if (options.all && (uuid || lower))
    return usage_error(kSnapshotMergeText, "Options -u and -A can't be used together");
  if (lower && !uuid) return usage_error(kSnapshotMergeText, "Option -U needs -u");
  if (new_file && new_file->empty())
    return usage_error(kSnapshotMergeText, "The name of the new image is empty");
  if (uuid) options.uuid = PARSED(parse_uuid_option(*uuid));
  if (lower) options.lower = PARSED(parse_uuid_option(*lower));
  options.new_file = new_file.value_or("");
  options.descriptor = PARSED(one_descriptor(kSnapshotMergeText, operands));
  return options;
}

ExitCode run_snapshot_merge(Console& console, const Words& args) {
  auto options = parse_snapshot_merge(args);
  if (!options) return stop(console, options.error());
  ProgressMeter meter(console, "Merging");
  options->progress = meter.callback();
  if (const Status done = ops::snapshot_merge(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
