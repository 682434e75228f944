#include "cli/commands.hpp"

#include <algorithm>
#include <array>

#include "cli/snapshot_commands.hpp"

namespace ploop::cli {
namespace {

/// "fsck" is what early releases called it.
ExitCode run_fsck(Console& console, const Words& args) {
  console.message(LogLevel::Error, "WARNING: ploop fsck command is obsoleted, please use ploop check");
  return run_check(console, args);
}

constexpr std::array kCommands = {
    Command{&kInitText, run_init},
    Command{&kMountText, run_mount},
    Command{&kUmountText, run_umount},
    Command{&kListText, run_list},
    Command{&kInfoText, run_info},
    Command{&kCheckText, run_check},
    Command{&kSnapshotText, run_snapshot},
    Command{&kSnapshotListText, run_snapshot_list},
    Command{&kSnapshotSwitchText, run_snapshot_switch},
    Command{&kSnapshotDeleteText, run_snapshot_delete},
    Command{&kSnapshotMergeText, run_snapshot_merge},
    Command{&kTsnapshotText, run_tsnapshot},
    Command{&kResizeText, run_resize},
    Command{&kBalloonText, run_balloon},
    Command{&kConvertText, run_convert},
    Command{&kCopyText, run_copy},
    Command{&kReplaceText, run_replace},
    Command{&kRestoreDescriptorText, run_restore_descriptor},
    Command{&kMergeText, run_merge},
    Command{&kGrowText, run_grow},
    Command{&kStatText, run_stat},
    Command{&kUpgradeText, run_upgrade},
    Command{&kStopText, run_stop},
    Command{&kStartText, run_start},
    Command{&kClearText, run_clear},
    Command{&kDeleteText, run_delete},
    Command{&kGetdevText, run_getdev},
};
constexpr Command kFsck{&kCheckText, run_fsck};
constexpr Command kRm{&kDeleteText, run_delete};

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

const Command* find_command(std::string_view name) {
  if (name == "fsck") return &kFsck;
  if (name == "rm") return &kRm;
  const auto found = std::ranges::find_if(kCommands, [&](const Command& c) { return c.text->name == name; });
  return found == kCommands.end() ? nullptr : &*found;
}

ExitCode answer(const Console& console, std::string_view text) {
  if (console.data(text)) return ExitCode::Ok;
  return report(console, errno_error(ExitCode::Write, "Can't write to stdout"));
}

ExitCode stop(const Console& console, const Stop& stop) {
  if (stop.is_help()) return answer(console, stop.text);
  console.complaint(stop.text);
  return stop.code;
}

ExitCode report(const Console& console, const Error& error) {
  console.message(LogLevel::Error, error.message());
  return error.code;
}

}  // namespace ploop::cli
