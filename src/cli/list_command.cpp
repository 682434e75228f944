// ploop list
#include <fmt/format.h>

#include "cli/commands.hpp"
#include "ops/info.hpp"

namespace ploop::cli {

const CommandText kListText = {
    "list", "show the attached disks",
    "list [-a]",
    "One line per device: name, base image, mount point (with -a), component name.\n"
    "Nothing is printed when nothing is attached.\n"
    "\n"
    "Options:\n"
    "  -a             show the mount point as well\n"
    "  -h, --help     this text\n"};

Parsed<ListArguments> parse_list(const Words& args) {
  ListArguments result;
  Arguments arguments(kListText);
  arguments.flag("-a", result.mount_points);
  const Words operands = PARSED(arguments.parse(args));
  if (!operands.empty()) return usage_error(kListText, "list takes no operands");
  return result;
}

ExitCode run_list(Console& console, const Words& args) {
  const auto parsed = parse_list(args);
  if (!parsed) return stop(console, parsed.error());
  console.keep_stdout_for_data();
  const auto rows = ops::list_devices(parsed->mount_points);
  if (!rows) return report(console, rows.error());
  std::string text;
  for (const ops::DeviceRow& row : *rows) {
    // The blanks are historical: parsers count fields from the left.
    text += fmt::format("{:<12} {} {} {}\n", row.name, row.image, row.mount_point, row.component);
  }
  return answer(console, text);
}

}  // namespace ploop::cli
