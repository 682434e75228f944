// ploop tsnapshot
#include "cli/snapshot_commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kTsnapshotText = {
    "tsnapshot", "take a temporary snapshot and attach it read-only",
    "tsnapshot -u UUID -c COMPONENT [-m DIR] DiskDescriptor.xml",
    "For a backup of a disk in use: its state is frozen and attached as a device of\n"
    "its own, while the disk goes on. 'ploop umount -c ~COMPONENT' ends that; the\n"
    "snapshot is merged away by the next snapshot, snapshot-delete or mount.\n"
    "\n"
    "Options:\n"
    "  -u UUID        name of the snapshot\n"
    "  -c COMPONENT   name of the device; the component is called ~COMPONENT\n"
    "  -m DIR         mount its file system here, read-only\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop tsnapshot -u $(uuidgen) -c backup -m /mnt/old DiskDescriptor.xml\n"
    "  ploop umount -c ~backup DiskDescriptor.xml\n"};

Parsed<ops::TsnapshotOptions> parse_tsnapshot(const Words& args) {
  std::optional<std::string> uuid, component, directory;
  Arguments arguments(kTsnapshotText);
  arguments.value("-u", uuid);
  arguments.value("-c", component);
  arguments.value("-m", directory);
  const Words operands = PARSED(arguments.parse(args));
  if (!uuid) return usage_error(kTsnapshotText, "The name of the snapshot (-u UUID) is missing");
  if (!component || component->empty())
    return usage_error(kTsnapshotText, "The component (-c COMPONENT) is missing");
  if (directory && directory->empty()) return usage_error(kTsnapshotText, "The mount point is empty");
  ops::TsnapshotOptions options;
  options.uuid = PARSED(parse_uuid_option(*uuid));
  options.component = *component;
  options.directory = directory.value_or("");
  options.descriptor = PARSED(one_descriptor(kTsnapshotText, operands));
  return options;
}

ExitCode run_tsnapshot(Console& console, const Words& args) {
  const auto options = parse_tsnapshot(args);
  if (!options) return stop(console, options.error());
  if (const auto mounted = ops::tsnapshot(*options); !mounted) return report(console, mounted.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
