// ploop list
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/log.hpp"
#include "base/units.hpp"
#include "cli/commands.hpp"
#include "cli/json.hpp"
#include "ops/info.hpp"
#include "ops/running.hpp"
#include "ops/space_watch.hpp"

namespace ploop::cli {

const CommandText kListText = {
    "list", "show the attached disks", "list [-a] [--json]",
    "One line per device: name, base image, mount point (with -a), component name.\n"
    "Nothing is printed when nothing is attached.\n"
    "\n"
    "Options:\n"
    "  -a             show the mount point as well\n"
    "  --json         print everything that is known as JSON\n"
    "  -h, --help     this text\n"};

Parsed<ListArguments> parse_list(const Words& args) {
  ListArguments result;
  Arguments arguments(kListText);
  arguments.flag("-a", result.mount_points);
  arguments.flag("--json", result.json);
  const Words operands = PARSED(arguments.parse(args));
  if (!operands.empty()) return usage_error(kListText, "list takes no operands");
  return result;
}

namespace {

/// A name in a line of text: control characters as octal numbers, the way /proc/mounts has them, so that no
/// name looks like another device's line.
std::string on_one_line(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      text += fmt::format("\\{:03o}", byte);
    else
      text += c;
  }
  return text;
}

std::string text_of(const std::vector<ops::DeviceRow>& rows) {
  std::string text;
  for (const ops::DeviceRow& row : rows) {
    // The blanks are historical: parsers count fields from the left.
    text += fmt::format("{:<12} {} {} {}\n", fmt::format("ploop{}", row.state.number),
                        on_one_line(row.state.deltas.front().path),
                        row.mount_points.empty() ? "" : on_one_line(row.mount_points.front()),
                        on_one_line(row.state.component));
  }
  return text;
}

Json json_of(const ops::DeviceRow& row) {
  const control::DeviceState& state = row.state;
  Json images = Json::array();
  for (const control::DeltaSpec& delta : state.deltas) {
    images.push_back({{"image", name_json(delta.path)},
                      {"format", control::image_kind_name(delta.kind)},
                      {"read_only", delta.read_only}});
  }
  return {{"device", ops::device_name(state)},
          {"component", name_json(state.component)},
          {"descriptor", name_or_null(state.descriptor)},
          {"images", std::move(images)},
          {"mount_points", names_json(row.mount_points)},
          {"size_bytes", state.size_sectors * kSectorSize},
          {"cluster_bytes", std::uint64_t{state.cluster_sectors} * kSectorSize},
          {"format_version", state.version},
          {"read_only", state.read_only},
          {"backing_device", name_json(state.backing_device)},
          {"transport", state.transport},
          {"sandbox", state.sandbox},
          {"can_resize", state.can_resize},
          {"survives_crash", state.can_resend},
          {"on_enospc", control::on_enospc_name(state.on_enospc)},
          {"waits_for_space", row.waits_for_space},
          {"daemon_pid", state.guardian_pid},
          {"daemon_version", state.program.empty() ? Json(nullptr) : Json(state.program)}};
}

std::string json_of(const std::vector<ops::DeviceRow>& rows) {
  Json devices = Json::array();
  for (const ops::DeviceRow& row : rows)
    devices.push_back(json_of(row));
  return json_text({{"devices", std::move(devices)}});
}

}  // namespace

ExitCode run_list(Console& console, const Words& args) {
  const auto parsed = parse_list(args);
  if (!parsed) return stop(console, parsed.error());
  console.keep_stdout_for_data();
  const auto rows = ops::list_devices(parsed->mount_points || parsed->json);
  if (!rows) return report(console, rows.error());
  for (const ops::DeviceRow& row : *rows) {
    if (row.waits_for_space) log_error("{}", ops::space_advice(row.state));
  }
  return answer(console, parsed->json ? json_of(*rows) : text_of(*rows));
}

}  // namespace ploop::cli
