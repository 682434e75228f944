// Changes to the tree of a disk, as edits of the plain value: what a snapshot, a switch, a deletion and a
// merge mean for images and shots. A plan_*() function decides and refuses, with the message and status that
// users know; the other functions change the Disk and need what the plan gave. Nothing here looks at files or
// devices.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "descriptor/model.hpp"

namespace ploop::descriptor {

/// Snapshots below the top of one path; side branches don't count.
inline constexpr std::size_t kMaxSnapshots = 126;

/// Name of a new delta: the first image's, a dot and a random UUID.
std::string new_delta_file(const Disk& disk);

/// The top's image.
const Image& top_image(const Disk& disk);

/// May a snapshot called `uuid` be taken? ExitCode::Param: the name is taken, old format, too many snapshots.
Status plan_snapshot(const Disk& disk, std::string_view uuid);
/// The top becomes the snapshot `uuid`; `file` is the new, empty top above it.
void add_snapshot(Disk& disk, const std::string& uuid, const std::string& file, bool temporary);

/// May the state `uuid` become current? ExitCode::Param: old format, already there, unknown, temporary.
Status plan_switch(const Disk& disk, std::string_view uuid);
/// The top goes; `file` is a new, empty one above `uuid`. The file that nothing names any more.
std::string switch_top(Disk& disk, const std::string& uuid, const std::string& file);

enum class DeleteAction {
  DropLeaf,  ///< nothing is based on it
  RollBack,  ///< the top: its parent becomes the top, and ceases to be a snapshot
  Renew,     ///< the top, whose parent has other children and so must stay frozen: a new, empty top takes its
             ///< place
  MergeChild,      ///< its only child is merged into its file
  MarkTemporary,   ///< several children: it goes when all but one have gone
  StaysTemporary,  ///< the same, marked already
};
struct DeletePlan {
  DeleteAction action = DeleteAction::DropLeaf;
  std::string uuid;   ///< as the descriptor writes it
  std::string child;  ///< MergeChild: the one that takes its place; Renew: the parent, for switch_top()
  std::size_t children = 0;
};
/// `top_is_running`: a device writes to the top. ExitCode::NoSnapshot for an unknown UUID; ExitCode::Param:
/// old format, the running top, the base without children, a top above a temporary snapshot.
Result<DeletePlan> plan_delete(const Disk& disk, std::string_view uuid, bool top_is_running);
/// The file that nothing names any more.
std::string drop_leaf(Disk& disk, const std::string& uuid);
std::string roll_back(Disk& disk);
void mark_temporary(Disk& disk, const std::string& uuid);

/// Temporary snapshots with at most one child, which may go as soon as nobody uses them; in the order of the
/// file.
std::vector<std::string> surplus_temporaries(const Disk& disk);

/// The nodes of a merge, upper first, at least two: data flows down into the last one's file, which survives
/// under the name of the first.
struct MergePlan {
  std::vector<std::string> nodes;
  [[nodiscard]] const std::string& upper() const { return nodes.front(); }
  [[nodiscard]] const std::string& lower() const { return nodes.back(); }
};
/// A node into its parent. ExitCode::Param: unknown or base, parent with several children.
Result<MergePlan> plan_merge_pair(const Disk& disk, std::string_view uuid);
/// A node and everything between into its ancestor. ExitCode::Param: no such ancestor, a node with several
/// children.
Result<MergePlan> plan_merge_range(const Disk& disk, std::string_view upper, std::string_view lower);
/// The top and everything below into the base.
Result<MergePlan> plan_merge_all(const Disk& disk);
/// Image files of the plan, upper first.
std::vector<std::string> files_of(const Disk& disk, const MergePlan& plan);
/// One node is left: upper's name, children and flag, lower's parent and file (or `new_file`, when not
/// empty). The files that nothing names any more, upper first.
std::vector<std::string> merge_nodes(Disk& disk, const MergePlan& plan, const std::string& new_file = {});

}  // namespace ploop::descriptor
