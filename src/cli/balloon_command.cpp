// ploop balloon, also called ploop-balloon
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/commands.hpp"
#include "cli/json.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kBalloonText = {
    "balloon", "give free space of a mounted disk back to the host",
    "balloon show|status|clear|complete|check|repair { -d DEVICE | -m DIR | DiskDescriptor.xml }\n"
    "balloon change -s SIZE { -d DEVICE | -m DIR | DiskDescriptor.xml }\n"
    "balloon discard { -d DEVICE | -m DIR | DiskDescriptor.xml } [--automount]\n"
    "                [--to-free SIZE] [--min-block SIZE] [--defrag] [--stat [--json]]",
    "The balloon is a hidden file inside the disk. What it takes from the file system, the\n"
    "image file on the host does not need. 'discard' gives back what is free anyway, without\n"
    "a balloon. The disk must be mounted.\n"
    "\n"
    "  show       size of the balloon\n"
    "  status     what the device is busy with: OFF, RELOC, MERGE, GROW, TRACK, ...\n"
    "  change     another size: a smaller one at once, a larger one by allocating blocks,\n"
    "             giving them back, and making the image file shorter\n"
    "  check      look whether the image has space under the balloon that it does not need\n"
    "  repair     give that back\n"
    "  clear      end a balloon operation that does not go on; there never is one\n"
    "  complete   finish what an interrupted command left\n"
    "  discard    give free space back: the file system names it, the image drops it and\n"
    "             becomes shorter\n"
    "\n"
    "Options:\n"
    "  -d DEVICE         the device, as /dev/ploopN\n"
    "  -m DIR            where the disk is mounted\n"
    "  -s SIZE           new size of the balloon: sectors, or with K, M, G, T; 0 empties it\n"
    "  -f                accepted for old scripts\n"
    "  --automount       attach and mount the disk for the time, when it is not mounted\n"
    "  --to-free SIZE    stop when so much was given back\n"
    "  --min-block SIZE  leave smaller pieces of free space alone; at least a cluster\n"
    "  --defrag          run e4defrag2 before, where it is installed\n"
    "  --stat            only print how the space is used\n"
    "  --json            with --stat: as JSON, in bytes\n"
    "  -h, --help        this text\n"
    "\n"
    "Examples:\n"
    "  ploop balloon discard --stat DiskDescriptor.xml\n"
    "  ploop balloon discard DiskDescriptor.xml\n"
    "  ploop balloon change -s 2g -m /mnt\n"};

namespace {

using ops::BalloonTarget;

constexpr std::array<std::string_view, 8> kActions = {"show",     "status", "clear",  "change",
                                                      "complete", "check",  "repair", "discard"};

Parsed<BalloonTarget> target_of(std::optional<std::string> device, std::optional<std::string> directory,
                                const Words& operands, bool discard) {
  BalloonTarget target{device.value_or(""), directory.value_or(""), operands.empty() ? "" : operands.front()};
  const bool named = !target.device.empty() || !target.directory.empty();
  const auto wrong = [&](std::string_view message) {
    Stop stop = usage_error(kBalloonText, message).value();
    if (discard) stop.code = ExitCode::Create;  // as it has always been there
    return tl::unexpected<Stop>(std::move(stop));
  };
  if (operands.size() > 1) return wrong("There must be one disk only");
  if (discard && named && !target.descriptor.empty())
    return wrong("DiskDescriptor.xml can't be given together with -d or -m");
  if (!named && target.descriptor.empty())
    return wrong("Error: one of -d, -m or DiskDescriptor.xml argument is required");
  if (!target.descriptor.empty() && named) target.descriptor.clear();
  return target;
}

Parsed<Bytes> bytes_option(char option, const std::optional<std::string>& text) {
  if (!text) return Bytes{};
  return Bytes{PARSED(parse_size(kBalloonText, option, *text)) * kSectorSize};
}

std::string stat_json(const ops::SpaceFacts& facts) {
  Json json;
  json["balloon_bytes"] = facts.balloon.value;
  json["data_bytes"] = facts.data.value;
  json["ploop_bytes"] = facts.ploop.value;
  json["image_bytes"] = facts.image.value;
  json["allocated_bytes"] = facts.allocated.value;
  return json_text(json);
}

std::string stat_text(const ops::SpaceFacts& facts) {
  const auto line = [](std::string_view label, Bytes value) {
    return fmt::format("{:<13} {:>8}MB\n", label, value.value >> 20);
  };
  return line("Balloon size:", facts.balloon) + line("Data size:", facts.data) +
         line("Ploop size:", facts.ploop) + line("Image size:", facts.image);
}

ExitCode run_stat(Console& console, const BalloonArguments& arguments) {
  console.keep_stdout_for_data();
  const auto facts = ops::space_facts(arguments.discard);
  if (!facts) return report(console, facts.error());
  return answer(console, arguments.json ? stat_json(*facts) : stat_text(*facts));
}

ExitCode run_discard(Console& console, BalloonArguments& arguments) {
  if (arguments.stat) return run_stat(console, arguments);
  ProgressMeter meter(console, "Giving back");
  arguments.discard.progress = meter.callback();
  if (const Status done = ops::discard_free_space(arguments.discard); !done)
    return report(console, done.error());
  return ExitCode::Ok;
}

void tell(const Console& console, const std::string& line) {
  console.message(LogLevel::Progress, line);
}

ExitCode run_show(Console& console, const BalloonTarget& target) {
  const auto size = ops::balloon_size(target);
  if (!size) return report(console, size.error());
  tell(console, fmt::format("Current size of hidden balloon is {} bytes", size->value));
  return ExitCode::Ok;
}

ExitCode run_status(Console& console, const BalloonTarget& target) {
  const auto name = ops::maintenance_name(target);
  if (!name) return report(console, name.error());
  tell(console, "Current state of in-kernel maintenance: " + *name);
  return ExitCode::Ok;
}

ExitCode run_clear_balloon(Console& console, const BalloonTarget& target) {
  if (const Status done = ops::clear_balloon(target); !done) return report(console, done.error());
  tell(console, "Current state of in-kernel maintenance is OFF now");
  return ExitCode::Ok;
}

ExitCode run_complete(Console& console, const BalloonTarget& target, const ProgressCallback& progress) {
  const auto name = ops::complete_maintenance(target, progress);
  if (!name) return report(console, name.error());
  if (*name != "RELOC") tell(console, fmt::format("Nothing to complete: kernel is in \"{}\" state", *name));
  return ExitCode::Ok;
}

ExitCode run_check_balloon(Console& console, const BalloonTarget& target, bool repair,
                           const ProgressCallback& progress) {
  const auto found = repair ? ops::repair_balloon(target, progress) : ops::check_balloon(target);
  if (!found) return report(console, found.error());
  if (found->empty) {
    tell(console, "Nothing to do: hidden balloon is empty");
  } else if (found->clusters == 0) {
    tell(console, "No free blocks found");
  } else if (!repair) {
    tell(console,
         fmt::format("Found {} free blocks. Consider using \"ploop-balloon repair\"", found->clusters));
  }
  return ExitCode::Ok;
}

ExitCode run_change(Console& console, const BalloonArguments& arguments, const ProgressCallback& progress) {
  if (const Status done = ops::set_balloon(arguments.discard.target, arguments.size, progress); !done) {
    return report(console, done.error());
  }
  return ExitCode::Ok;
}

}  // namespace

Parsed<BalloonArguments> parse_balloon(const Words& args) {
  if (args.empty()) return usage_only(kBalloonText);
  if (args.front().starts_with("-")) {
    PARSED(Arguments(kBalloonText).parse(args));  // help, or an option that does not exist
    return usage_error(kBalloonText, "The balloon command comes first");
  }
  BalloonArguments result;
  result.action = args.front();
  if (std::ranges::find(kActions, result.action) == kActions.end()) {
    return usage_error(kBalloonText, "There is no balloon command '" + result.action + "'");
  }
  const bool discard = result.action == "discard";
  std::optional<std::string> device, directory, size, to_free, min_block;
  bool force = false;
  Arguments arguments(kBalloonText);
  arguments.value("-d", device);
  arguments.value("-m", directory);
  arguments.flag("-f", force);
  if (result.action == "change") arguments.value("-s", size);
  if (discard) {
    arguments.flag("--automount", result.discard.automount);
    arguments.value("--to-free", to_free);
    arguments.value("--min-block", min_block);
    arguments.flag("--defrag", result.discard.defrag);
    arguments.flag("--stat", result.stat);
    arguments.flag("--json", result.json);
  }
  const Words operands = PARSED(arguments.parse(Words(args.begin() + 1, args.end())));
  result.discard.target = PARSED(target_of(device, directory, operands, discard));
  if (result.action == "change" && !size)
    return usage_error(kBalloonText, "The new size is missing: give it with -s");
  result.size = PARSED(bytes_option('s', size));
  result.discard.to_free = PARSED(bytes_option('t', to_free));
  result.discard.min_block = PARSED(bytes_option('b', min_block));
  if (result.discard.automount && result.discard.target.descriptor.empty()) {
    return usage_error(kBalloonText, "Option --automount needs DiskDescriptor.xml");
  }
  if (result.json && !result.stat) return usage_error(kBalloonText, "Option --json goes with --stat");
  return result;
}

ExitCode run_balloon(Console& console, const Words& args) {
  auto parsed = parse_balloon(args);
  if (!parsed) return stop(console, parsed.error());
  const BalloonTarget& target = parsed->discard.target;
  if (parsed->action == "discard") return run_discard(console, *parsed);
  if (parsed->action == "show") return run_show(console, target);
  if (parsed->action == "status") return run_status(console, target);
  if (parsed->action == "clear") return run_clear_balloon(console, target);
  ProgressMeter meter(console, "Giving back");
  if (parsed->action == "complete") return run_complete(console, target, meter.callback());
  if (parsed->action == "change") return run_change(console, *parsed, meter.callback());
  return run_check_balloon(console, target, parsed->action == "repair", meter.callback());
}

}  // namespace ploop::cli
