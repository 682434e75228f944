// ploop init
#include <fmt/format.h>

#include <limits>

#include "base/text.hpp"
#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kInitText = {
    "init", "make a new disk: image, file system, descriptor",
    "init -s SIZE [-f FORMAT] [-v VERSION] [-t FSTYPE] [-b BLOCKSIZE] [-B FSBLOCK]\n"
    "     [-n|--nolazy] [--transport=NAME] IMAGE",
    "Makes IMAGE and, beside it, DiskDescriptor.xml. Neither may exist yet. Unless -t none\n"
    "is given the disk gets a partition table and a file system, which needs root.\n"
    "\n"
    "Options:\n"
    "  -s SIZE        size of the disk: a number with K, M, G or T; without: 512-byte sectors\n"
    "  -f FORMAT      ploop1 (default; grows as data is written), preallocated, or raw\n"
    "  -v VERSION     version of the image format: 2 (default) or 1 (at most 2 TiB)\n"
    "  -t FSTYPE      ext4 (default), ext3, xfs, or none\n"
    "  -b BLOCKSIZE   size of a cluster in sectors: a power of two from 64 to 131072;\n"
    "                 2048 (1 MiB) is the default\n"
    "  -B FSBLOCK     size of a block of the file system in bytes, 4096 by default\n"
    "  -n, --nolazy   write all tables of the file system now, not when it is mounted\n"
    "  --transport=NAME\n"
    "                 how the kernel reaches the image while it gets its file system: ublk,\n"
    "                 fuse, or auto (default: ublk where the kernel has it)\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop init -s 10g root.hdd\n"
    "  ploop init -s 1T -t xfs -b 256 /srv/disk/root.hdd\n"
    "  ploop init -s 64m -t none scratch.hdd       no root needed\n"};

namespace {

Parsed<fs::FsType> parse_type(const std::string& text) {
  if (const auto type = ops::parse_file_system(text)) return *type;
  return usage_error(kInitText, fmt::format("Incorrect file system type specified: {}", text));
}

Parsed<std::uint32_t> parse_fs_block(const std::string& text) {
  const auto bytes = parse_c_integer(text);
  if (!bytes || *bytes == 0 || *bytes > std::numeric_limits<std::uint32_t>::max()) {
    return usage_error(kInitText, fmt::format("ERROR: Invalid argument for option -B: {}", text));
  }
  return static_cast<std::uint32_t>(*bytes);
}

image::CreateFormat create_format(FormatWord word) {
  switch (word) {
    case FormatWord::Raw:
      return image::CreateFormat::Raw;
    case FormatWord::Preallocated:
      return image::CreateFormat::Preallocated;
    case FormatWord::Ploop1:
      break;
  }
  return image::CreateFormat::Expanded;
}

}  // namespace

Parsed<ops::InitOptions> parse_init(const Words& args) {
  std::optional<std::string> size, format, version, type, blocksize, fs_block, transport;
  bool nolazy = false;
  Arguments arguments(kInitText);
  arguments.value("-s", size);
  arguments.value("-f", format);
  arguments.value("-v", version);
  arguments.value("-t", type);
  arguments.value("-b", blocksize);
  arguments.value("-B", fs_block);
  arguments.flag("-n,--nolazy", nolazy);
  arguments.value("--transport", transport);
  const Words operands = PARSED(arguments.parse(args));

  ops::InitOptions options;
  options.transport = transport.value_or(options.transport);
  if (size) options.size_sectors = PARSED(parse_size(kInitText, 's', *size));
  if (format) options.format = create_format(PARSED(parse_format(kInitText, *format)));
  if (version)
    options.version = format::Version{static_cast<std::uint8_t>(PARSED(parse_version(kInitText, *version)))};
  if (type) options.file_system.type = PARSED(parse_type(*type));
  if (blocksize)
    options.cluster_sectors =
        PARSED(parse_blocksize(kInitText, *blocksize)).value_or(options.cluster_sectors);
  if (fs_block) options.file_system.block_size = PARSED(parse_fs_block(*fs_block));
  options.file_system.lazy = !nolazy;
  if (!size) return usage_error(kInitText, "The size is missing: give it with -s");
  if (options.size_sectors == 0) return usage_error(kInitText, "The size must not be 0");
  if (operands.size() != 1) {
    return usage_error(
        kInitText, operands.empty() ? "The name of the image is missing" : "There must be one image only");
  }
  options.image = operands.front();
  return options;
}

ExitCode run_init(Console& console, const Words& args) {
  auto options = parse_init(args);
  if (!options) return stop(console, options.error());
  ProgressMeter meter(console, "Creating");
  options->progress = meter.callback();
  if (const Status done = ops::init(*options); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
