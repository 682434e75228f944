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
  if (commit == object.end() || !commit->is_object() || !commit->contains("from") || !commit->contains("to")) {
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

}  // namespace

std::string encode_chain_change(const ChainChange& change) {
  return to_line(Json{{"deltas", deltas_to_json(change.deltas)},
                      {"size_sectors", change.size_sectors},
                      {"level", change.level},
                      {"commit", commit_to_json(change.commit)}});
}

Result<ChainChange> decode_chain_change(std::string_view text) {
  const Json json = TRY(parse_object(text, "chain change"));
  TRY(only_fields(json, {"deltas", "size_sectors", "level", "commit"}, "chain change"));
  ChainChange change;
  change.deltas = TRY(deltas_from_json(json));
  for (const DeltaSpec& delta : change.deltas) {
    if (!delta.path.starts_with('/')) return fail(ExitCode::Param, "Image path is not absolute: " + delta.path);
  }
  change.size_sectors = TRY(unsigned_field(json, "size_sectors"));
  change.level = TRY(number_field<std::uint32_t>(json, "level"));
  change.commit = TRY(commit_from_json(json));
  return change;
}

std::string encode_chain_state(const ChainState& state) {
  return to_line(Json{{"deltas", deltas_to_json(state.deltas)},
                      {"merging", state.merging},
                      {"size_sectors", state.size_sectors},
                      {"commit", commit_to_json(state.commit)}});
}

Result<ChainState> decode_chain_state(std::string_view text) {
  const Json json = TRY(parse_object(text, "chain state"));
  ChainState state;
  state.deltas = TRY(deltas_from_json(json));
  state.merging = TRY(bool_field(json, "merging"));
  state.size_sectors = TRY(unsigned_field(json, "size_sectors"));
  state.commit = TRY(commit_from_json(json));
  return state;
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
