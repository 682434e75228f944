// The commands: their texts, what their arguments mean, and running them. parse_* has no side effects.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/arguments.hpp"
#include "cli/console.hpp"
#include "ops/balloon.hpp"
#include "ops/check.hpp"
#include "ops/convert.hpp"
#include "ops/copy_receive.hpp"
#include "ops/copy_send.hpp"
#include "ops/grow.hpp"
#include "ops/init.hpp"
#include "ops/merge.hpp"
#include "ops/merge_device.hpp"
#include "ops/mount.hpp"
#include "ops/replace.hpp"
#include "ops/resize.hpp"
#include "ops/restore_descriptor.hpp"
#include "ops/snapshot_list.hpp"
#include "ops/umount.hpp"
#include "ops/upgrade.hpp"

namespace ploop::cli {

using Words = std::vector<std::string>;

struct Command {
  const CommandText* text;
  ExitCode (*run)(Console& console, const Words& args);
};

/// In the order of the summary.
std::span<const Command> commands();
/// nullptr when there is none of that name; knows old names as well.
const Command* find_command(std::string_view name);

struct InfoArguments {
  std::string descriptor;
  bool geometry = false;
  bool device = false;
  bool json = false;
};
struct ListArguments {
  bool mount_points = false;
  bool json = false;
};
enum class SnapshotField { ParentUuid, Current, Uuid, File };
struct SnapshotListArguments {
  std::string descriptor;
  ops::SnapshotRowOptions rows;
  bool header = true;
  std::vector<SnapshotField> fields;
  bool json = false;
};
struct MergeArguments {
  ops::MergeRequest files;
  std::optional<ops::MergeDeviceRequest> device;  ///< set: this instead
};
struct CheckArguments {
  ops::CheckRequest request;
  bool ignored_flags = false;  ///< there are flags that do not apply to a descriptor
  bool json = false;
};

struct CopyArguments {
  std::optional<ops::CopySendOptions> send;  ///< -s was given
  ops::CopyReceiveOptions receive;           ///< otherwise
};
struct DeleteArguments {
  std::string device;
  std::size_t level = 0;
};
struct BalloonArguments {
  std::string action;           ///< show, status, ...
  Bytes size;                   ///< change
  ops::DiscardOptions discard;  ///< its target is that of every action
  bool stat = false;
  bool json = false;
};
struct StatArguments {
  std::string device;
  bool clear = false;
  bool load = false;
};

Parsed<ops::InitOptions> parse_init(const Words& args);
Parsed<ops::MountOptions> parse_mount(const Words& args);
Parsed<ops::UmountOptions> parse_umount(const Words& args);
Parsed<InfoArguments> parse_info(const Words& args);
Parsed<ListArguments> parse_list(const Words& args);
Parsed<ops::ConvertRequest> parse_convert(const Words& args);
Parsed<ops::GrowRequest> parse_grow(const Words& args);
Parsed<MergeArguments> parse_merge(const Words& args);
Parsed<ops::ReplaceRequest> parse_replace(const Words& args);
Parsed<ops::ResizeOptions> parse_resize(const Words& args);
Parsed<BalloonArguments> parse_balloon(const Words& args);
Parsed<CheckArguments> parse_check(const Words& args);
Parsed<CopyArguments> parse_copy(const Words& args);
Parsed<ops::RestoreOptions> parse_restore_descriptor(const Words& args);
Parsed<SnapshotListArguments> parse_snapshot_list(const Words& args);
Parsed<DeleteArguments> parse_delete(const Words& args);
Parsed<StatArguments> parse_stat(const Words& args);
Parsed<ops::UpgradeOptions> parse_upgrade(const Words& args);

ExitCode run_init(Console& console, const Words& args);
ExitCode run_mount(Console& console, const Words& args);
ExitCode run_umount(Console& console, const Words& args);
ExitCode run_info(Console& console, const Words& args);
ExitCode run_list(Console& console, const Words& args);
ExitCode run_convert(Console& console, const Words& args);
ExitCode run_grow(Console& console, const Words& args);
ExitCode run_resize(Console& console, const Words& args);
ExitCode run_balloon(Console& console, const Words& args);
ExitCode run_merge(Console& console, const Words& args);
ExitCode run_replace(Console& console, const Words& args);
ExitCode run_check(Console& console, const Words& args);
ExitCode run_copy(Console& console, const Words& args);
ExitCode run_restore_descriptor(Console& console, const Words& args);
ExitCode run_snapshot_list(Console& console, const Words& args);
ExitCode run_start(Console& console, const Words& args);
ExitCode run_stop(Console& console, const Words& args);
ExitCode run_clear(Console& console, const Words& args);
ExitCode run_delete(Console& console, const Words& args);
ExitCode run_getdev(Console& console, const Words& args);
ExitCode run_stat(Console& console, const Words& args);
ExitCode run_upgrade(Console& console, const Words& args);

extern const CommandText kCopyText;
extern const CommandText kConvertText, kGrowText, kMergeText, kReplaceText, kResizeText, kBalloonText;
extern const CommandText kInitText, kMountText, kUmountText, kInfoText, kListText, kCheckText,
    kRestoreDescriptorText, kSnapshotListText, kStartText, kStopText, kClearText, kDeleteText, kGetdevText,
    kStatText, kUpgradeText;

/// Prints what was asked for; ExitCode::Write when that fails.
ExitCode answer(const Console& console, std::string_view text);
/// Prints help on stdout or a complaint on stderr; the exit status.
ExitCode stop(const Console& console, const Stop& stop);
/// Prints an error.
ExitCode report(const Console& console, const Error& error);

/// The rows as the historical table.
std::string format_snapshot_rows(const std::vector<ops::SnapshotRow>& rows,
                                 const SnapshotListArguments& args);

}  // namespace ploop::cli
