#include "daemon/authority.hpp"

#include <algorithm>
#include <utility>

namespace ploop::daemon {

using control::DeltaSpec;

void Authority::allow(std::uint64_t connection, control::Permission permission) {
  std::erase_if(given_, [connection](const Given& g) { return g.orphaned || g.connection == connection; });
  given_.push_back({connection, std::move(permission)});
}

void Authority::revoke(std::uint64_t connection) {
  std::erase_if(given_, [connection](const Given& g) { return g.connection == connection; });
}

void Authority::closed(std::uint64_t connection) {
  for (Given& g : given_)
    g.orphaned = g.orphaned || g.connection == connection;
}

bool Authority::merge_allowed() const {
  return std::ranges::any_of(given_, [](const Given& g) { return g.permission.merge; });
}

Status Authority::may_open(const std::string& path, bool writable) const {
  const auto fits = [&](const DeltaSpec& delta) {
    return delta.path == path && (!writable || !delta.read_only);
  };
  if (std::ranges::any_of(order_.deltas, fits)) return {};
  const std::size_t levels = order_.deltas.size();
  if (!order_.read_only && levels >= 2 && order_.deltas[levels - 2].path == path && merge_allowed())
    return {};
  for (const Given& g : given_) {
    if (std::ranges::any_of(g.permission.deltas, fits)) return {};
  }
  return fail(ExitCode::Open,
              "no command has allowed the worker to open " + path + (writable ? " for writing" : ""));
}

const DeltaSpec* Authority::wanted(const std::string& path, bool writable) const {
  // Of several commands the last one: it is the one that is being worked for.
  for (auto g = given_.rbegin(); g != given_.rend(); ++g) {
    for (const DeltaSpec& delta : g->permission.deltas) {
      if (delta.path == path && (!writable || !delta.read_only)) return &delta;
    }
  }
  return nullptr;
}

/// One that is known, in the format it is known in, and written only if it may be.
bool Authority::may_be_level(const DeltaSpec& delta) const {
  const auto same = [&](const DeltaSpec& known) {
    return known.path == delta.path && known.kind == delta.kind;
  };
  bool known = std::ranges::any_of(order_.deltas, same);
  for (const Given& g : given_)
    known = known || std::ranges::any_of(g.permission.deltas, same);
  return known && may_open(delta.path, !delta.read_only);
}

Status Authority::may_become(const control::ChainState& next) const {
  const auto allows = [&](const Given& g) {
    return next.commit.empty() || g.permission.commit == next.commit;
  };
  if (order_.read_only || std::ranges::none_of(given_, allows)) {
    return fail(
        ExitCode::Param,
        "no command has allowed the worker to change the device" +
            (next.commit.empty() ? "" : " and to rename " + next.commit.from + " to " + next.commit.to));
  }
  if (next.deltas.empty() || next.deltas.size() > control::kMaxDeltas) {
    return fail(ExitCode::Param,
                "the worker wants a device of " + std::to_string(next.deltas.size()) + " images");
  }
  for (const DeltaSpec& delta : next.deltas) {
    if (!may_be_level(delta))
      return fail(ExitCode::Param, "no command has allowed the worker to make " + delta.path + " a level");
  }
  return {};
}

void Authority::passed(const control::CommitPoint& commit) {
  if (commit.empty()) return;
  std::erase_if(given_, [&](const Given& g) { return g.permission.commit == commit; });
}

}  // namespace ploop::daemon
