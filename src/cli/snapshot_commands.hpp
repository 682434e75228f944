// The commands that change the tree of a disk.
#pragma once

#include "cli/commands.hpp"
#include "ops/snapshot.hpp"
#include "ops/snapshot_delete.hpp"
#include "ops/snapshot_merge.hpp"
#include "ops/snapshot_switch.hpp"
#include "ops/tsnapshot.hpp"

namespace ploop::cli {

struct SnapshotArguments {
  ops::SnapshotOptions disk;
  std::optional<ops::DeviceSnapshotOptions> device;  ///< the form with -d
};

Parsed<SnapshotArguments> parse_snapshot(const Words& args);
Parsed<ops::SwitchOptions> parse_snapshot_switch(const Words& args);
Parsed<ops::DeleteOptions> parse_snapshot_delete(const Words& args);
Parsed<ops::SnapshotMergeOptions> parse_snapshot_merge(const Words& args);
Parsed<ops::TsnapshotOptions> parse_tsnapshot(const Words& args);

ExitCode run_snapshot(Console& console, const Words& args);
ExitCode run_snapshot_switch(Console& console, const Words& args);
ExitCode run_snapshot_delete(Console& console, const Words& args);
ExitCode run_snapshot_merge(Console& console, const Words& args);
ExitCode run_tsnapshot(Console& console, const Words& args);

extern const CommandText kSnapshotText, kSnapshotSwitchText, kSnapshotDeleteText, kSnapshotMergeText,
    kTsnapshotText;

}  // namespace ploop::cli
