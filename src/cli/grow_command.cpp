// ploop grow
#include "cli/commands.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kGrowText = {
    "grow", "make an image or a disk larger, not what is in it",
    "grow -s SIZE DiskDescriptor.xml\n"
    "grow -s SIZE -d DEVICE\n"
    "grow -s SIZE [-f FORMAT] IMAGE",
    "Gives a disk, or a single image file, a larger size. Partition table and file system\n"
    "stay as they are: 'ploop resize' changes them, too. A disk may be attached and in use.\n"
    "\n"
    "SIZE must be a multiple of the cluster size; that of a raw image is rounded up to\n"
    "4 KiB. A disk that has snapshots gets a larger top; the snapshots keep their size.\n"
    "\n"
    "Options:\n"
    "  -s SIZE        new size: a number of sectors, or with K, M, G, T\n"
    "  -d DEVICE      a device that is attached\n"
    "  -f FORMAT      of IMAGE: ploop1 (default) or raw\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop grow -s 20g /srv/disk/DiskDescriptor.xml\n"
    "  ploop grow -s 20g -f raw disk.raw\n"};

Parsed<ops::GrowRequest> parse_grow(const Words& args) {
  std::optional<std::string> size, device, format;
  Arguments arguments(kGrowText);
  arguments.value("-s", size);
  arguments.value("-d", device);
  arguments.value("-f", format);
  const Words operands = PARSED(arguments.parse(args));
  ops::GrowRequest request;
  if (size) request.size_sectors = PARSED(parse_size(kGrowText, 's', *size));
  if (format) request.raw = PARSED(parse_format(kGrowText, *format)) == FormatWord::Raw;
  if (request.size_sectors == 0) return usage_error(kGrowText, "The new size is missing: give it with -s");
  request.device = device.value_or("");
  if (device && !request.device.empty() && operands.empty() && !format) return request;
  if (device) return usage_error(kGrowText, "With -d there must be no -f and no disk or image");
  if (operands.size() != 1) {
    return usage_error(kGrowText,
                       operands.empty() ? "What to grow is missing" : "There must be one disk or image only");
  }
  request.target = operands.front();
  return request;
}

ExitCode run_grow(Console& console, const Words& args) {
  const auto request = parse_grow(args);
  if (!request) return stop(console, request.error());
  if (const Status done = ops::grow(*request); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
