// ploop replace
#include "base/text.hpp"
#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kReplaceText = {
    "replace", "put a copy of an image in the image's place",
    "replace {-u UUID | -l LEVEL | -o FILE} [-k] [--no-compare] -i NEW DiskDescriptor.xml\n"
    "replace {-d DEVICE | -m DIR} {-l LEVEL | -o FILE} [-k] [--no-compare] -i NEW",
    "NEW, a copy of one of the disk's images, takes its place, for example after the image\n"
    "was copied to another directory of the disk. Of a disk that is attached any image but\n"
    "the top can be replaced while it is used. NEW must be the same: file length, header\n"
    "and content are compared first.\n"
    "\n"
    "Options:\n"
    "  -u UUID            the image of this snapshot\n"
    "  -l LEVEL           the image at this level of the attached disk; 0 is the base\n"
    "  -o FILE            the image that is this file\n"
    "  -i NEW             the file to use from now on\n"
    "  -d DEVICE          an attached device\n"
    "  -m DIR             the attached device whose file system is mounted there\n"
    "  -k, --keep-name    NEW gets the name of the old file, which is removed; without,\n"
    "                     the descriptor names NEW, and the old file stays\n"
    "  --no-compare       do not compare the content\n"
    "  -h, --help         this text\n"
    "\n"
    "Examples:\n"
    "  ploop replace -o root.hdd -i fast/root.hdd DiskDescriptor.xml\n"
    "  ploop replace -m /mnt -l 0 -k -i root.copy\n"};

namespace {

Parsed<std::size_t> parse_level(const std::string& text) {
  const auto level = parse_c_integer(text);
  if (!level || *level > 0xffff) return usage_error(kReplaceText, "Bad -l argument: " + text);
  return static_cast<std::size_t>(*level);
}

/// Exactly one selector, exactly one disk.
std::string_view what_is_wrong(const ops::ReplaceRequest& r, std::size_t operands) {
  const int selectors = (r.uuid ? 1 : 0) + (r.level ? 1 : 0) + (r.current ? 1 : 0);
  const int devices = (r.device.empty() ? 0 : 1) + (r.directory.empty() ? 0 : 1);
  if (devices > 1) return "Error: either -d or -m must be specified";
  if (devices == 1 && operands != 0) return "With -d or -m there must be no descriptor";
  if (devices == 1 && (selectors != 1 || r.uuid))
    return "Error: either one of level (-l) or current file (-o) must be specified";
  if (devices == 0 && selectors != 1) {
    return "Error: either one of uuid (-u), level (-l) or current file (-o) must be specified";
  }
  if (devices == 0 && operands != 1) return "There must be one descriptor";
  if (r.new_file.empty()) return "The new file is missing: give it with -i";
  return "";
}

}  // namespace

Parsed<ops::ReplaceRequest> parse_replace(const Words& args) {
  std::optional<std::string> uuid, level, device, directory, new_file;
  bool no_compare = false;
  ops::ReplaceRequest request;
  Arguments arguments(kReplaceText);
  arguments.value("-u", uuid);
  arguments.value("-l", level);
  arguments.value("-o", request.current);
  arguments.value("-i", new_file);
  arguments.value("-d", device);
  arguments.value("-m", directory);
  arguments.flag("-k,--keep-name", request.keep_name);
  arguments.flag("--no-compare", no_compare);
  const Words operands = PARSED(arguments.parse(args));
  if (uuid) request.uuid = PARSED(parse_uuid_option(*uuid));
  if (level) request.level = PARSED(parse_level(*level));
  request.device = device.value_or("");
  request.directory = directory.value_or("");
  request.new_file = new_file.value_or("");
  request.compare = !no_compare;
  if (const std::string_view wrong = what_is_wrong(request, operands.size()); !wrong.empty()) {
    return usage_error(kReplaceText, wrong);
  }
  if (!operands.empty()) request.descriptor = operands.front();
  return request;
}

ExitCode run_replace(Console& console, const Words& args) {
  auto request = parse_replace(args);
  if (!request) return stop(console, request.error());
  ProgressMeter meter(console, "Comparing");
  request->progress = meter.callback();
  if (const Status done = ops::replace(*request); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
