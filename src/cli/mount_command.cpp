// ploop mount
#include "cli/commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kMountText = {
    "mount", "attach a disk as /dev/ploopN and mount its file system",
    "mount [-r] [-F] [-d DEVICE] [-m DIR] [-o OPTIONS] [-t FSTYPE] [-u UUID]\n"
    "     [-c COMPONENT] [--allow-external=IMAGE] DiskDescriptor.xml\n"
    "mount [-r] [-F] [-f raw] [-b BLOCKSIZE] [-d DEVICE] [-m DIR] [-o OPTIONS]\n"
    "     [-t FSTYPE] BASE_IMAGE [... TOP_IMAGE]",
    "Attaches the disk and prints the device in a line \"Adding delta dev=/dev/ploopN\n"
    "img=IMAGE (ro|rw)\" for every image. With -m its file system is mounted as well.\n"
    "In the second form the images of a stack are named one by one, base first; the\n"
    "last one is written to.\n"
    "\n"
    "Options:\n"
    "  -r             read-only, nothing is changed\n"
    "  -F             check the file system (ext3, ext4) and correct it before mounting\n"
    "  -d DEVICE      attach as this device, for example /dev/ploop7; else the next free one\n"
    "  -m DIR         mount the file system at this directory\n"
    "  -o OPTIONS     mount options for the file system, separated by commas\n"
    "  -t FSTYPE      type of the file system; found out when not given\n"
    "  -u UUID        attach this snapshot instead of the current state; one that others\n"
    "                 are based on needs -r\n"
    "  -c COMPONENT   name for an additional device over the same disk\n"
    "  -f FORMAT      image list: raw says that the base image is raw\n"
    "  -b BLOCKSIZE   image list: cluster size of a raw base in sectors\n"
    "  --allow-external=IMAGE\n"
    "                 use this image although the descriptor names a place outside of its\n"
    "                 own directory; once for each such image\n"
    "  --transport=NAME\n"
    "                 how the kernel reaches the image: ublk, ublk:zero-copy, fuse, or auto\n"
    "                 (default: ublk where the kernel has it)\n"
    "  --on-enospc=WORD\n"
    "                 what a write does when the host's file system is full: wait until there\n"
    "                 is space (default), or fail\n"
    "  --require-sandbox\n"
    "                 fail when the device's daemon can't be confined in full on this system\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop mount -m /mnt /srv/disk/DiskDescriptor.xml\n"
    "  ploop mount -r -u {8ed4e1f9-...} -c backup -m /mnt/old DiskDescriptor.xml\n"
    "  ploop mount base.hdd first.delta second.delta\n"};

Parsed<ops::MountOptions> parse_mount(const Words& args) {
  std::optional<std::string> device, directory, fs_options, fs_type, uuid, component, format, blocksize,
      transport, on_enospc;
  ops::MountOptions options;
  Arguments arguments(kMountText);
  arguments.flag("-r", options.read_only);
  arguments.flag("-F", options.fsck);
  arguments.value("-f", format);
  arguments.value("-b", blocksize);
  arguments.value("-d", device);
  arguments.value("-m", directory);
  arguments.value("-o", fs_options);
  arguments.value("-t", fs_type);
  arguments.value("-u", uuid);
  arguments.value("-c", component);
  arguments.value("--transport", transport);
  arguments.value("--on-enospc", on_enospc);
  arguments.flag("--require-sandbox", options.require_sandbox);
  arguments.values("--allow-external", options.allow_external);
  options.operands = PARSED(arguments.parse(args));

  if (format) options.raw = PARSED(parse_format(kMountText, *format)) == FormatWord::Raw;
  if (blocksize) options.cluster_sectors = PARSED(parse_blocksize(kMountText, *blocksize));
  if (uuid) options.uuid = PARSED(parse_uuid_option(*uuid));
  options.device = device.value_or("");
  options.directory = directory.value_or("");
  options.fs_options = fs_options.value_or("");
  options.fs_type = fs_type.value_or("");
  options.component = component.value_or("");
  options.transport = transport.value_or(options.transport);
  if (on_enospc) {
    const auto word = control::parse_on_enospc(*on_enospc);
    if (!word) return usage_error(kMountText, "Bad --on-enospc argument: " + *on_enospc);
    options.on_enospc = *word;
  }
  if (options.operands.empty()) return usage_error(kMountText, "What to mount is missing");
  if (directory && directory->empty()) return usage_error(kMountText, "The mount point is empty");
  return options;
}

ExitCode run_mount(Console& console, const Words& args) {
  const auto options = parse_mount(args);
  if (!options) return stop(console, options.error());
  if (const auto mounted = ops::mount(*options); !mounted) return report(console, mounted.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
