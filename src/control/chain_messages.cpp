#include "control/chain_messages.hpp"

#include "base/paths.hpp"
#include "control/json.hpp"

namespace ploop::control {
namespace {

Json commit_to_json(const CommitPoint& commit) {
  return Json{{"from", bytes_to_json(commit.from)}, {"to", bytes_to_json(commit.to)}};
}

Result<CommitPoint> commit_from_json(const Json& object) {
  const auto commit = object.find("commit");
  if (commit == object.end() || !commit->is_object() || !commit->contains("from") ||
      !commit->contains("to")) {
    return fail(ExitCode::Protocol, "\"commit\" is missing or incomplete");
  }
  CommitPoint point;
  point.from = TRY(bytes_from_json((*commit)["from"], "from"));
  point.to = TRY(bytes_from_json((*commit)["to"], "to"));
  if (point.from.empty() && point.to.empty()) return point;
  const bool absolute = point.from.starts_with('/') && point.to.starts_with('/');
  if (!absolute || directory_of(point.from) != directory_of(point.to)) {
    return fail(ExitCode::Param, "A commit point renames inside one directory");
  }
  return point;
}

Result<std::vector<DeltaSpec>> absolute_deltas_from_json(const Json& object) {
  std::vector<DeltaSpec> deltas = TRY(deltas_from_json(object));
  for (const DeltaSpec& delta : deltas) {
    if (!delta.path.starts_with('/'))
      return fail(ExitCode::Param, "Image path is not absolute: " + delta.path);
  }
  return deltas;
}

/// "known" may be left out.
Result<std::vector<std::string>> paths_from_json(const Json& object) {
  std::vector<std::string> paths;
  const auto known = object.find("known");
  if (known == object.end()) return paths;
  if (!known->is_array() || known->size() > kMaxDeltas)
    return fail(ExitCode::Protocol, "\"known\" is no list of images");
  for (const Json& path : *known)
    paths.push_back(TRY(bytes_from_json(path, "known")));
  return paths;
}

Result<std::vector<std::size_t>> fresh_from_json(const Json& object, std::size_t levels) {
  std::vector<std::size_t> fresh;
  const auto list = object.find("fresh");
  if (list == object.end() || !list->is_array() || list->size() > levels)
    return fail(ExitCode::Protocol, "\"fresh\" is no list of levels");
  for (const Json& level : *list) {
    if (!level.is_number_unsigned() || level.get<std::uint64_t>() >= levels)
      return fail(ExitCode::Protocol, "\"fresh\" names no level");
    fresh.push_back(level.get<std::size_t>());
  }
  return fresh;
}

}  // namespace

std::vector<std::string> paths_of(const std::vector<DeltaSpec>& deltas) {
  std::vector<std::string> paths;
  for (const DeltaSpec& delta : deltas)
    paths.push_back(delta.path);
  return paths;
}

std::string encode_chain_change(const ChainChange& change) {
  Json known = Json::array();
  for (const std::string& path : change.known)
    known.push_back(bytes_to_json(path));
  return to_line(Json{{"deltas", deltas_to_json(change.deltas)},
                      {"known", std::move(known)},
                      {"size_sectors", change.size_sectors},
                      {"level", change.level},
                      {"commit", commit_to_json(change.commit)}});
}

Result<ChainChange> decode_chain_change(std::string_view text) {
  const Json json = TRY(parse_object(text, "chain change"));
  TRY(only_fields(json, {"deltas", "known", "size_sectors", "level", "commit"}, "chain change"));
  ChainChange change;
  change.deltas = TRY(absolute_deltas_from_json(json));
  change.known = TRY(paths_from_json(json));
  change.size_sectors = TRY(unsigned_field(json, "size_sectors"));
  change.level = TRY(number_field<std::uint32_t>(json, "level"));
  change.commit = TRY(commit_from_json(json));
  return change;
}

std::string encode_chain_state(const ChainState& state) {
  return to_line(Json{{"deltas", deltas_to_json(state.deltas)},
                      {"merging", state.merging},
                      {"size_sectors", state.size_sectors},
                      {"commit", commit_to_json(state.commit)},
                      {"fresh", state.fresh}});
}

Result<ChainState> decode_chain_state(std::string_view text) {
  const Json json = TRY(parse_object(text, "chain state"));
  ChainState state;
  state.deltas = TRY(deltas_from_json(json));
  state.merging = TRY(bool_field(json, "merging"));
  state.size_sectors = TRY(unsigned_field(json, "size_sectors"));
  state.commit = TRY(commit_from_json(json));
  state.fresh = TRY(fresh_from_json(json, state.deltas.size()));
  return state;
}

std::string encode_permission(const Permission& permission) {
  Json json{{"deltas", deltas_to_json(permission.deltas)},
            {"merge", permission.merge},
            {"commit", commit_to_json(permission.commit)}};
  add_files(json, permission.deltas);
  return to_line(json);
}

Result<Permission> decode_permission(std::string_view text) {
  const Json json = TRY(parse_object(text, "permission"));
  TRY(only_fields(json, {"deltas", "merge", "commit", "files"}, "permission"));
  Permission permission;
  permission.deltas = TRY(absolute_deltas_from_json(json));
  TRY(read_files(json, permission.deltas));
  permission.merge = TRY(bool_field(json, "merge"));
  permission.commit = TRY(commit_from_json(json));
  return permission;
}

std::string encode_maintenance(const MaintenanceState& state) {
  return to_line(Json{{"name", state.name}, {"done", state.done}, {"total", state.total}});
}

Result<MaintenanceState> decode_maintenance(std::string_view text) {
  const Json json = TRY(parse_object(text, "maintenance state"));
  MaintenanceState state;
  state.name = TRY(string_field(json, "name"));
  state.done = TRY(unsigned_field(json, "done"));
  state.total = TRY(unsigned_field(json, "total"));
  return state;
}

}  // namespace ploop::control
