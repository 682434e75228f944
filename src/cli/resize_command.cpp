// ploop resize
#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kResizeText = {
    "resize", "make a disk and its file system larger or smaller", "resize -s SIZE DiskDescriptor.xml",
    "Gives a disk another size, with its partition and its file system (ext4, ext3, xfs).\n"
    "\n"
    "A mounted disk grows while it is used. When it shall be smaller, it keeps its own size:\n"
    "a hidden file (the balloon) takes the difference from the file system, and the image\n"
    "file becomes smaller. A disk that is not attached gets exactly the new size, also a\n"
    "smaller one; an xfs and a disk with snapshots can become smaller by the balloon only.\n"
    "\n"
    "A command that was interrupted leaves the disk as it was, or the next command on the\n"
    "disk finishes it.\n"
    "\n"
    "Options:\n"
    "  -s SIZE        new size: a number of sectors, or with K, M, G, T; rounded up to a\n"
    "                 whole cluster\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop resize -s 20g /srv/disk/DiskDescriptor.xml\n"};

Parsed<ops::ResizeOptions> parse_resize(const Words& args) {
  std::optional<std::string> size;
  Arguments arguments(kResizeText);
  arguments.value("-s", size);
  const Words operands = PARSED(arguments.parse(args));
  ops::ResizeOptions options;
  if (size) options.size_sectors = PARSED(parse_size(kResizeText, 's', *size));
  if (options.size_sectors == 0) return usage_error(kResizeText, "The new size is missing: give it with -s");
  options.descriptor = PARSED(one_descriptor(kResizeText, operands));
  return options;
}

ExitCode run_resize(Console& console, const Words& args) {
  auto options = parse_resize(args);
  if (!options) return stop(console, options.error());
  ProgressMeter meter(console, "Resizing");
  options->progress = meter.callback();
  if (const Status done = ops::resize(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
