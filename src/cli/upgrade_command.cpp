// ploop upgrade
#include <fmt/format.h>

#include "cli/commands.hpp"

namespace ploop::cli {

const CommandText kUpgradeText = {
    "upgrade", "change the program of running devices",
    "upgrade [--program PATH] --all\n"
    "upgrade [--program PATH] DEVICE|DiskDescriptor.xml...",
    "The daemon of a running device becomes the ploopd that is installed now. Mounted file\n"
    "systems and open files stay; requests wait for a moment and none fails. When the new\n"
    "program can't take over, the old one goes on. A device on which an operation runs is\n"
    "left alone.\n"
    "\n"
    "Options:\n"
    "  --all          all devices, one after the other, also when one fails\n"
    "  --program PATH\n"
    "                 this ploopd instead of the installed one\n"
    "  -h, --help     this text\n"
    "\n"
    "Examples:\n"
    "  ploop upgrade --all\n"
    "  ploop upgrade --program /opt/ploop/libexec/ploopd /dev/ploop0\n"};

Parsed<ops::UpgradeOptions> parse_upgrade(const Words& args) {
  std::optional<std::string> program;
  ops::UpgradeOptions options;
  Arguments arguments(kUpgradeText);
  arguments.flag("--all", options.all);
  arguments.value("--program", program);
  options.targets = PARSED(arguments.parse(args));
  options.program = program.value_or("");
  if (program && program->empty()) return usage_error(kUpgradeText, "The program's name is empty");
  if (options.all == !options.targets.empty()) {
    return usage_error(kUpgradeText, options.all ? "--all and single devices exclude each other"
                                                 : "What to upgrade is missing: name devices, or give --all");
  }
  return options;
}

ExitCode run_upgrade(Console& console, const Words& args) {
  const auto options = parse_upgrade(args);
  if (!options) return stop(console, options.error());
  const auto outcomes = ops::upgrade(*options);
  if (!outcomes) return report(console, outcomes.error());
  ExitCode code = ExitCode::Ok;
  for (const ops::UpgradeOutcome& outcome : *outcomes) {
    if (outcome.result) {
      console.message(LogLevel::Progress, fmt::format("{}: ploopd {} -> {}", outcome.device,
                                                      outcome.result->from, outcome.result->to));
      continue;
    }
    Error error = outcome.result.error();
    report(console, std::move(error).with_context(outcome.device));
    if (code == ExitCode::Ok) code = outcome.result.error().code;
  }
  return code;
}

}  // namespace ploop::cli
