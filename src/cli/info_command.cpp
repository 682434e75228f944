// ploop info
#include <fmt/format.h>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/units.hpp"
#include "cli/commands.hpp"
#include "cli/json.hpp"
#include "ops/info.hpp"

namespace ploop::cli {

const CommandText kInfoText = {
    "info", "show usage, size and device of a disk", "info [-s] [-d] [--json] DiskDescriptor.xml",
    "Without options: how full the file system is, in KiB and inodes. A disk that is not\n"
    "attached answers from what was noted when it was unmounted.\n"
    "\n"
    "Options:\n"
    "  -s             size and cluster size in sectors, version of the image format\n"
    "  -d             device and partition; empty when the disk is not attached\n"
    "  --json         print as JSON, in bytes; without -s and -d everything\n"
    "  -h, --help     this text\n"
    "\n"
    "Example:\n"
    "  ploop info -s -d /srv/disk/DiskDescriptor.xml\n"};

namespace {

constexpr std::uint64_t kKib = 1024;

std::string usage_table(const fs::Usage& usage) {
  const auto row = [](std::string_view name, auto size, auto used) {
    return fmt::format("{:>11} {:>14} {:>14}\n", name, size, used);
  };
  const std::uint64_t blocks_used = usage.blocks - usage.free_blocks;
  return row("resource", "Size", "Used") +
         row("1k-blocks", usage.blocks * usage.block_size / kKib, blocks_used * usage.block_size / kKib) +
         row("inodes", usage.inodes, usage.inodes - usage.free_inodes);
}

Result<std::string> geometry_lines(const std::string& descriptor) {
  const ops::DiskGeometry g = TRY(ops::disk_geometry(descriptor));
  return fmt::format("size:\t\t{}\nblocksize:\t{}\nfmt_version:\t{}\n", g.size_sectors, g.cluster_sectors,
                     g.version);
}

/// Parsers look for a device name behind "device:", blanks and line ends included: after an empty value no
/// line follows.
Result<std::string> device_lines(const std::string& descriptor) {
  const ops::DiskDevice d = TRY(ops::disk_device(descriptor));
  if (d.device.empty()) return std::string("device:\t\t\n");
  if (!d.survives_crash)
    log_error("Warning: this kernel can't hand requests to another daemon: if {}'s dies, so does the device",
              d.device);
  return fmt::format("device:\t\t{}\npartition:\t{}\n", d.device, d.partition);
}

Result<std::string> all_lines(const InfoArguments& args) {
  std::string text;
  if (args.geometry) text += TRY(geometry_lines(args.descriptor));
  if (args.device) text += TRY(device_lines(args.descriptor));
  if (text.empty()) text = usage_table(TRY(ops::disk_usage(args.descriptor)));
  return text;
}

void add_geometry(Json& answer, const ops::DiskGeometry& g) {
  answer["size_bytes"] = g.size_sectors * kSectorSize;
  answer["cluster_bytes"] = std::uint64_t{g.cluster_sectors} * kSectorSize;
  answer["format"] = g.version == 0 ? "raw" : "ploop1";
  answer["format_version"] = g.version == 0 ? Json(nullptr) : Json(g.version);
}

void add_device(Json& answer, const ops::DiskDevice& d) {
  answer["device"] = name_or_null(d.device);
  answer["partition"] = name_or_null(d.partition);
  answer["survives_crash"] = d.device.empty() ? Json(nullptr) : Json(d.survives_crash);
}

Json usage_object(const fs::Usage& usage) {
  return {{"size_bytes", usage.blocks * usage.block_size},
          {"used_bytes", (usage.blocks - usage.free_blocks) * usage.block_size},
          {"inodes", usage.inodes},
          {"used_inodes", usage.inodes - usage.free_inodes}};
}

/// A running disk whose file system is not mounted has no usage to tell; the rest is still an answer.
Status add_usage(Json& answer, const std::string& descriptor) {
  const auto usage = ops::disk_usage(descriptor);
  if (!usage && usage.error().code != ExitCode::Create) return fail(usage.error());
  answer["file_system"] = usage ? usage_object(*usage) : Json(nullptr);
  return {};
}

Result<std::string> all_json(const InfoArguments& args) {
  const bool all = !args.geometry && !args.device;
  Json answer = Json::object();
  if (all || args.geometry) add_geometry(answer, TRY(ops::disk_geometry(args.descriptor)));
  if (all || args.device) add_device(answer, TRY(ops::disk_device(args.descriptor)));
  if (all) TRY(add_usage(answer, args.descriptor));
  return json_text(answer);
}

}  // namespace

Parsed<InfoArguments> parse_info(const Words& args) {
  InfoArguments result;
  Arguments arguments(kInfoText);
  arguments.flag("-s", result.geometry);
  arguments.flag("-d", result.device);
  arguments.flag("--json", result.json);
  const Words operands = PARSED(arguments.parse(args));
  if (operands.size() != 1 || !descriptor::is_descriptor_name(operands.front())) {
    return usage_error(kInfoText, "The descriptor is missing: one name that ends in .xml");
  }
  result.descriptor = operands.front();
  return result;
}

ExitCode run_info(Console& console, const Words& args) {
  const auto parsed = parse_info(args);
  if (!parsed) return stop(console, parsed.error());
  console.keep_stdout_for_data();
  const auto text = parsed->json ? all_json(*parsed) : all_lines(*parsed);
  if (!text) return report(console, text.error());
  return answer(console, *text);
}

}  // namespace ploop::cli
