// ploop umount
#include "cli/commands.hpp"

namespace ploop::cli {

const CommandText kUmountText = {
    "umount", "unmount and detach a disk",
    "umount -d DEVICE\n"
    "umount -m DIR\n"
    "umount [-c COMPONENT] DiskDescriptor.xml|IMAGE",
    "Unmounts the file system if it is mounted, writes everything to the image and\n"
    "detaches the device. When the file system is in use the users are named and\n"
    "the disk stays as it is.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      the device, as /dev/ploopN or its partition\n"
    "  -m DIR         the directory where the file system is mounted\n"
    "  -c COMPONENT   of several devices over the disk, the one with this name\n"
    "  -h, --help     this text\n"
    "\n"
    "IMAGE is the base image of the disk.\n"
    "\n"
    "Examples:\n"
    "  ploop umount /srv/disk/DiskDescriptor.xml\n"
    "  ploop umount -m /mnt\n"};

Parsed<ops::UmountOptions> parse_umount(const Words& args) {
  std::optional<std::string> device, directory, component;
  Arguments arguments(kUmountText);
  arguments.value("-d", device);
  arguments.value("-m", directory);
  arguments.value("-c", component);
  const Words operands = PARSED(arguments.parse(args));
  ops::UmountOptions options;
  options.device = device.value_or("");
  options.directory = directory.value_or("");
  options.component = component.value_or("");
  // With -d or -m operands have always been ignored.
  if (!options.device.empty() || !options.directory.empty()) return options;
  if (operands.size() != 1) {
    return usage_error(kUmountText,
                       operands.empty() ? "What to unmount is missing" : "There must be one disk only");
  }
  options.target = operands.front();
  return options;
}

ExitCode run_umount(Console& console, const Words& args) {
  const auto options = parse_umount(args);
  if (!options) return stop(console, options.error());
  if (const Status done = ops::umount(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
