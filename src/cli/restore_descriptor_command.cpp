// ploop restore-descriptor
#include "cli/commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kRestoreDescriptorText = {
    "restore-descriptor", "write a new descriptor for a single image",
    "restore-descriptor [-f FORMAT] [-b BLOCKSIZE] DIR IMAGE",
    "Writes DIR/DiskDescriptor.xml, which must not exist, for an image that lost its own or\n"
    "was made by another program, such as 'qemu-img convert -O parallels'. The image is\n"
    "not touched.\n"
    "\n"
    "Options:\n"
    "  -f FORMAT      ploop1 (default) or raw\n"
    "  -b BLOCKSIZE   raw: cluster size in sectors; else the largest that fits, up to 1 MiB\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop restore-descriptor /srv/disk /srv/disk/root.hdd\n"};

Parsed<ops::RestoreOptions> parse_restore_descriptor(const Words& args) {
  std::optional<std::string> format, blocksize;
  Arguments arguments(kRestoreDescriptorText);
  arguments.value("-f", format);
  arguments.value("-b", blocksize);
  const Words operands = PARSED(arguments.parse(args));
  ops::RestoreOptions options;
  if (format) options.raw = PARSED(parse_format(kRestoreDescriptorText, *format)) == FormatWord::Raw;
  if (blocksize) options.cluster_sectors = PARSED(parse_blocksize(kRestoreDescriptorText, *blocksize));
  if (operands.size() != 2)
    return usage_error(kRestoreDescriptorText, "A directory and an image must be given");
  options.directory = operands[0];
  options.image = operands[1];
  return options;
}

ExitCode run_restore_descriptor(Console& console, const Words& args) {
  const auto options = parse_restore_descriptor(args);
  if (!options) return stop(console, options.error());
  if (const Status done = ops::restore_descriptor(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
