// ploop merge
#include "base/text.hpp"
#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kMergeText = {
    "merge", "merge image files into the lowest of them",
    "merge [-f FORMAT] [-n NEW] UPPER... BASE\n"
    "merge -d DEVICE [-l LOW[..HIGH]] [-n NEW]",
    "Merges images into the one below them, the top image first and the destination last.\n"
    "Afterwards BASE reads as the whole stack did; the others are not changed and not\n"
    "removed. Nothing knows of the descriptor here: 'ploop snapshot-merge' and 'ploop\n"
    "snapshot-delete' do this for a disk. An image that is attached or was not closed is\n"
    "refused.\n"
    "\n"
    "Interrupted, the images read as before through their stack, and BASE is marked as\n"
    "in use. The same merge again goes on.\n"
    "\n"
    "With -d levels of an attached device are merged while it is used: all into the base, or\n"
    "those above LOW up to HIGH (LOW+1 when it is not given) into LOW. 0 is the base. Of a\n"
    "device that was attached by its descriptor these are snapshots, and the files that\n"
    "were merged are removed; otherwise they stay.\n"
    "\n"
    "Options:\n"
    "  -d DEVICE      an attached device\n"
    "  -l LOW[..HIGH] its levels\n"
    "  -f FORMAT      of BASE: ploop1 (default) or raw\n"
    "  -n NEW         merge everything into this new image and leave BASE alone as well; it\n"
    "                 takes the place of level LOW\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop merge top.delta middle.delta root.hdd\n"
    "  ploop merge -n flat.hdd top.delta root.hdd\n"
    "  ploop merge -d /dev/ploop0 -l 1..3\n"};

namespace {

/// "A" or "A..B".
Parsed<ops::LevelRange> parse_levels(const std::string& text) {
  const std::size_t dots = text.find("..");
  const auto low = parse_c_integer(text.substr(0, dots));
  const auto high = dots == std::string::npos ? (low ? std::optional(*low + 1) : std::nullopt)
                                              : parse_c_integer(text.substr(dots + 2));
  if (!low || !high || *low >= *high || *high > 0xffff)
    return usage_error(kMergeText, "Bad -l argument: " + text);
  return ops::LevelRange{static_cast<std::size_t>(*low), static_cast<std::size_t>(*high)};
}

}  // namespace

Parsed<MergeArguments> parse_merge(const Words& args) {
  std::optional<std::string> device, levels, format, new_image;
  Arguments arguments(kMergeText);
  arguments.value("-d", device);
  arguments.value("-l", levels);
  arguments.value("-f", format);
  arguments.value("-n", new_image);
  MergeArguments result;
  ops::MergeRequest& files = result.files;
  files.operands = PARSED(arguments.parse(args));
  if (format) files.raw = PARSED(parse_format(kMergeText, *format)) == FormatWord::Raw;
  if (new_image && new_image->empty()) return usage_error(kMergeText, "The name of the new image is empty");
  files.new_image = new_image.value_or("");
  if (device) {
    if (!files.operands.empty() || format)
      return usage_error(kMergeText, "With -d there must be no -f and no images");
    result.device = ops::MergeDeviceRequest{.device = *device, .levels = {}, .new_image = files.new_image};
    if (levels) result.device->levels = PARSED(parse_levels(*levels));
    return result;
  }
  if (levels) return usage_error(kMergeText, "-l needs -d");
  if (files.operands.size() == 1 && descriptor::is_descriptor_name(files.operands.front())) {
    return value_error("Please use ploop snapshot-merge command");
  }
  if (files.operands.size() < 2)
    return usage_error(kMergeText, "At least two images are needed: the top first, the lowest last");
  return result;
}

ExitCode run_merge(Console& console, const Words& args) {
  auto parsed = parse_merge(args);
  if (!parsed) return stop(console, parsed.error());
  ProgressMeter meter(console, "Merging");
  parsed->files.progress = meter.callback();
  if (parsed->device) parsed->device->progress = meter.callback();
  const Status done = parsed->device ? ops::merge_device(*parsed->device) : ops::merge(parsed->files);
  return done ? ExitCode::Ok : report(console, done.error());
}

}  // namespace ploop::cli
