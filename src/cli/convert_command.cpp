// ploop convert
#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kConvertText = {
    "convert", "change the format or the version of a disk",
    "convert -f FORMAT DiskDescriptor.xml\n"
    "convert -v VERSION DiskDescriptor.xml",
    "Changes how a disk that is not attached is stored; what is in it stays. Interrupted, it\n"
    "is finished or undone by the next command that uses the disk.\n"
    "\n"
    "With -f the disk must have no snapshots: 'ploop snapshot-merge -A' merges them. From\n"
    "and to raw a new file is made, which needs room for the data.\n"
    "With -v all images of the disk are converted, snapshots included, in place.\n"
    "\n"
    "Options:\n"
    "  -f FORMAT      ploop1 (or expanded), preallocated, or raw\n"
    "  -v VERSION     1 (at most 2 TiB) or 2\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop convert -f raw /srv/disk/DiskDescriptor.xml\n"
    "  ploop convert -v 2 DiskDescriptor.xml\n"};

namespace {

image::CreateFormat format_of(FormatWord word) {
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

Parsed<ops::ConvertRequest> parse_convert(const Words& args) {
  std::optional<std::string> format, version;
  Arguments arguments(kConvertText);
  arguments.value("-f", format);
  arguments.value("-v", version);
  const Words operands = PARSED(arguments.parse(args));
  ops::ConvertRequest request;
  if (format) request.format = format_of(PARSED(parse_format(kConvertText, *format)));
  if (version)
    request.version =
        format::Version{static_cast<std::uint8_t>(PARSED(parse_version(kConvertText, *version)))};
  if (format.has_value() == version.has_value())
    return usage_error(kConvertText, "Either -f or -v must be given");
  if (operands.size() != 1) {
    return usage_error(kConvertText,
                       operands.empty() ? "The disk is missing" : "There must be one disk only");
  }
  request.descriptor = operands.front();
  return request;
}

ExitCode run_convert(Console& console, const Words& args) {
  auto request = parse_convert(args);
  if (!request) return stop(console, request.error());
  ProgressMeter meter(console, "Converting");
  request->progress = meter.callback();
  if (const Status done = ops::convert(*request); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
