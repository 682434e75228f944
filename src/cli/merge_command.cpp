// ploop merge
#include "cli/commands.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kMergeText = {
    "merge", "merge image files into the lowest of them",
    "merge [-f FORMAT] [-n NEW] UPPER... BASE",
    "Merges images into the one below them, the top image first and the destination last.\n"
    "Afterwards BASE reads as the whole stack did; the others are not changed and not\n"
    "removed. Nothing knows of the descriptor here: 'ploop snapshot-merge' and 'ploop\n"
    "snapshot-delete' do this for a disk. An image that is attached or was not closed is\n"
    "refused.\n"
    "\n"
    "Interrupted, the images read as before through their stack, and BASE is marked as\n"
    "in use: 'ploop check -d BASE', then the same merge again.\n"
    "\n"
    "Options:\n"
    "  -f FORMAT      of BASE: ploop1 (default) or raw\n"
    "  -n NEW         merge everything into this new image and leave BASE alone as well\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop merge top.delta middle.delta root.hdd\n"
    "  ploop merge -n flat.hdd top.delta root.hdd\n"};

Parsed<ops::MergeRequest> parse_merge(const Words& args) {
  std::optional<std::string> format, new_image;
  Arguments arguments(kMergeText);
  arguments.value("-f", format);
  arguments.value("-n", new_image);
  ops::MergeRequest request;
  request.operands = PARSED(arguments.parse(args));
  if (format) request.raw = PARSED(parse_format(kMergeText, *format)) == FormatWord::Raw;
  request.new_image = new_image.value_or("");
  if (request.operands.size() == 1 && descriptor::is_descriptor_name(request.operands.front())) {
    return value_error("Please use ploop snapshot-merge command");
  }
  if (request.operands.size() < 2) return usage_error(kMergeText, "At least two images are needed: the top first, the lowest last");
  if (new_image && new_image->empty()) return usage_error(kMergeText, "The name of the new image is empty");
  return request;
}

ExitCode run_merge(Console& console, const Words& args) {
  auto request = parse_merge(args);
  if (!request) return stop(console, request.error());
  ProgressMeter meter(console, "Merging");
  request->progress = meter.callback();
  if (const Status done = ops::merge(*request); !done) return report(console, done.error());
  return ExitCode::Ok;
}

}  // namespace ploop::cli
