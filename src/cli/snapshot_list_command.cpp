// ploop snapshot-list
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/uuid.hpp"
#include "cli/commands.hpp"
#include "cli/json.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kSnapshotListText = {
    "snapshot-list", "show the snapshots of a disk",
    "snapshot-list [-H] [-s] [-u UUID] [-o FIELD[,FIELD...]] DiskDescriptor.xml\n"
    "snapshot-list --json [-s] [-u UUID] DiskDescriptor.xml",
    "One line per node of the disk's tree, in the order of the descriptor. The one\n"
    "marked with * is the current state.\n"
    "\n"
    "Options:\n"
    "  -H, --no-header     leave out the line with the titles\n"
    "  -u, --uuid UUID     only this snapshot and the ones it is based on\n"
    "      --id UUID       the same\n"
    "  -s, --snapshot      snapshots only; * marks the one that the current state is based on\n"
    "  -o, --output FIELDS columns: parent_uuid, current, uuid, fname\n"
    "      --json          print all that is known of each as JSON\n"
    "  -h, --help          this text\n"
    "\n"
    "Example:\n"
    "  ploop snapshot-list -H -o uuid,fname DiskDescriptor.xml\n"};

namespace {

struct Column {
  SnapshotField field;
  std::string_view name;
  std::string_view title;
  int width;
};
constexpr std::array kColumns = {
    Column{SnapshotField::ParentUuid, "parent_uuid", "PARENT_UUID", 38},
    Column{SnapshotField::Current, "current", "C", 1},
    Column{SnapshotField::Uuid, "uuid", "UUID", 38},
    Column{SnapshotField::File, "fname", "FNAME", 32},
};

const Column& column(SnapshotField field) {
  return *std::ranges::find_if(kColumns, [&](const Column& c) { return c.field == field; });
}

Parsed<SnapshotField> parse_field(std::string name) {
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  for (const Column& c : kColumns) {
    if (c.name == name) return c.field;
  }
  return value_error(fmt::format("Unknown field: {}", name), ExitCode::Create);
}

Parsed<std::vector<SnapshotField>> parse_fields(const std::string& list) {
  std::vector<SnapshotField> fields;
  std::size_t at = 0;
  while (at <= list.size()) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    if (end > at) fields.push_back(PARSED(parse_field(list.substr(at, end - at))));
    at = end + 1;
  }
  if (fields.empty()) return value_error("Unknown field: " + list, ExitCode::Create);
  return fields;
}

std::string_view value_of(const ops::SnapshotRow& row, SnapshotField field) {
  switch (field) {
    case SnapshotField::ParentUuid:
      return row.parent_uuid;
    case SnapshotField::Current:
      return row.current ? "*" : " ";
    case SnapshotField::Uuid:
      return row.uuid;
    case SnapshotField::File:
      break;
  }
  return row.file;
}

/// Every failure of this command has the status 1.
tl::unexpected<Stop> with_status_one(Stop stop) {
  if (!stop.is_help()) stop.code = ExitCode::Create;
  return tl::unexpected<Stop>(std::move(stop));
}

Parsed<SnapshotListArguments> parse_all(const Words& args) {
  std::optional<std::string> uuid, id, output;
  bool no_header = false;
  SnapshotListArguments result;
  Arguments arguments(kSnapshotListText);
  arguments.flag("-H,--no-header", no_header);
  arguments.flag("-s,--snapshot", result.rows.snapshots_only);
  arguments.value("-u,--uuid", uuid);
  arguments.value("--id", id);
  arguments.value("-o,--output", output);
  arguments.flag("--json", result.json);
  const Words operands = PARSED(arguments.parse(args));
  if (result.json && (no_header || output)) {
    return usage_error(kSnapshotListText,
                       "Options -H and -o choose lines and columns of text; --json has none");
  }
  result.header = !no_header;
  if (!uuid) uuid = id;
  if (uuid) result.rows.uuid = PARSED(parse_uuid_option(*uuid));
  result.fields = PARSED(parse_fields(output.value_or("parent_uuid,current,uuid,fname")));
  if (operands.empty()) return usage_error(kSnapshotListText, "The descriptor is missing");
  result.descriptor = operands.front();  // more of them have always been ignored
  return result;
}

Json uuid_or_null(const std::string& uuid) {
  return same_uuid(uuid, kNoUuid) ? Json(nullptr) : Json(uuid);
}

std::string json_of(const std::vector<ops::SnapshotRow>& rows) {
  Json nodes = Json::array();
  for (const ops::SnapshotRow& row : rows) {
    nodes.push_back({{"uuid", row.uuid},
                     {"parent_uuid", uuid_or_null(row.parent_uuid)},
                     {"current", row.current},
                     {"temporary", row.temporary},
                     {"image", name_json(row.file)}});
  }
  return json_text({{"snapshots", std::move(nodes)}});
}

}  // namespace

std::string format_snapshot_rows(const std::vector<ops::SnapshotRow>& rows,
                                 const SnapshotListArguments& args) {
  std::string text;
  if (args.header) {
    for (const SnapshotField field : args.fields)
      text += fmt::format("{:<{}} ", column(field).title, column(field).width);
    text += '\n';
  }
  for (const ops::SnapshotRow& row : rows) {
    for (std::size_t i = 0; i < args.fields.size(); ++i) {
      const bool last = i + 1 == args.fields.size();
      const std::string_view value = value_of(row, args.fields[i]);
      text += last ? std::string(value) + "\n" : fmt::format("{:<{}} ", value, column(args.fields[i]).width);
    }
  }
  return text;
}

Parsed<SnapshotListArguments> parse_snapshot_list(const Words& args) {
  auto parsed = parse_all(args);
  if (!parsed) return with_status_one(std::move(parsed).error());
  return parsed;
}

ExitCode run_snapshot_list(Console& console, const Words& args) {
  const auto parsed = parse_snapshot_list(args);
  if (!parsed) return stop(console, parsed.error());
  console.keep_stdout_for_data();
  const auto rows = ops::snapshot_list(parsed->descriptor, parsed->rows);
  if (!rows) return report(console, rows.error());
  return answer(console, parsed->json ? json_of(*rows) : format_snapshot_rows(*rows, *parsed));
}

}  // namespace ploop::cli
