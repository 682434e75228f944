#include "cli/mount_helper.hpp"

#include <algorithm>

#include "base/paths.hpp"

namespace ploop::cli {
namespace {

constexpr int kDone = 0;
constexpr int kUsage = 1;
constexpr int kSystem = 2;
constexpr int kFailed = 32;

constexpr int kQuiet = static_cast<int>(LogLevel::Error);

const CommandText kMountHelper = {
    "mount.ploop", "helper of mount(8)", "mount.ploop DiskDescriptor.xml DIR [-sfnv] [-o OPTIONS]",
    "What 'mount -t ploop' runs: attaches the disk and mounts its file system. Option ro\n"
    "makes both read-only, all others are for the file system inside.\n"};

const CommandText kUmountHelper = {
    "umount.ploop", "helper of umount(8)", "umount.ploop DIR|DEVICE [-fnrv]",
    "What umount runs for a disk that 'mount -t ploop' has mounted: unmounts the file system\n"
    "and detaches the disk.\n"};

/// Takes ro and rw out of a list of options, the last one counts; what remains is for the file system inside.
std::string split_options(const std::string& list, bool& read_only) {
  std::string rest;
  std::size_t at = 0;
  bool quoted = false;
  for (std::size_t end = 0; end <= list.size(); ++end) {
    if (end < list.size() && list[end] == '"') quoted = !quoted;
    if (end < list.size() && (quoted || list[end] != ',')) continue;
    const std::string option = list.substr(at, end - at);
    at = end + 1;
    if (option == "ro" || option == "rw") {
      read_only = option == "ro";
    } else if (!option.empty() && option != "defaults") {
      rest += (rest.empty() ? "" : ",") + option;
    }
  }
  return rest;
}

/// A wrong use, without "ploop" in front of the name.
int complain(const Console& console, const CommandText& text, const Stop& stop) {
  const std::string usage = "Usage: " + std::string(text.usage) + "\n\n" + std::string(text.help);
  const std::string first = stop.is_help() ? "" : stop.text.substr(0, stop.text.find('\n') + 1);
  console.complaint(first + usage);
  return kUsage;
}

int failed(const Console& console, std::string_view program, const Error& error) {
  console.message(LogLevel::Error, std::string(program) + ": " + error.message());
  return error.code == ExitCode::Malloc ? kSystem : kFailed;
}

int run_mount_helper(Console& console, const Words& args) {
  const auto parsed = parse_mount_helper(args);
  if (!parsed) return complain(console, kMountHelper, parsed.error());
  console.set_verbosity(parsed->verbose ? kDefaultVerbosity : kQuiet);
  if (const Status there = ops::require_daemon(); !there) {
    failed(console, kMountHelper.name, there.error());
    return kSystem;
  }
  if (ops::is_mount_point(parsed->mount.directory)) {
    return failed(console, kMountHelper.name,
                  Error{ExitCode::Mount, 0, parsed->mount.directory + " is a mount point already"});
  }
  if (parsed->fake) return kDone;
  const auto mounted = ops::mount(parsed->mount);
  return mounted ? kDone : failed(console, kMountHelper.name, mounted.error());
}

int run_umount_helper(Console& console, const Words& args) {
  const auto parsed = parse_umount_helper(args);
  if (!parsed) return complain(console, kUmountHelper, parsed.error());
  console.set_verbosity(parsed->verbose ? kDefaultVerbosity : kQuiet);
  const Status done = ops::umount(parsed->umount);
  return done ? kDone : failed(console, kUmountHelper.name, done.error());
}

}  // namespace

Parsed<MountHelperArguments> parse_mount_helper(const Words& args) {
  MountHelperArguments result;
  bool sloppy = false;
  bool no_record = false;
  std::vector<std::string> lists;
  std::optional<std::string> type;
  Arguments arguments(kMountHelper);
  arguments.flag("-s", sloppy);
  arguments.flag("-f", result.fake);
  arguments.flag("-n", no_record);
  arguments.flag("-v", result.verbose);
  arguments.value("-t", type);
  arguments.values("-o", lists);
  const Words operands = PARSED(arguments.parse(args));
  if (operands.size() != 2 || operands[1].empty())
    return usage_error(kMountHelper, "A descriptor and a directory must be given");
  if (!descriptor::is_descriptor_name(operands[0])) {
    return usage_error(kMountHelper, operands[0] + " is not the name of a descriptor, which ends in .xml");
  }
  result.mount.operands = {operands[0]};
  result.mount.directory = operands[1];
  std::string all;
  for (const std::string& list : lists)
    all += list + ",";
  result.mount.fs_options = split_options(all, result.mount.read_only);
  if (!no_record) result.mount.umount_helper = "ploop";
  return result;
}

Parsed<UmountHelperArguments> parse_umount_helper(const Words& args) {
  UmountHelperArguments result;
  bool force = false, lazy = false, no_record = false, read_only = false;
  std::optional<std::string> type;
  Arguments arguments(kUmountHelper);
  arguments.flag("-f", force);
  arguments.flag("-l", lazy);
  arguments.flag("-n", no_record);
  arguments.flag("-r", read_only);
  arguments.flag("-v", result.verbose);
  arguments.value("-t", type);
  const Words operands = PARSED(arguments.parse(args));
  if (operands.size() != 1) return usage_error(kUmountHelper, "One directory or device must be given");
  if (lazy)
    return usage_error(kUmountHelper,
                       "-l would leave the device running without its file system; it is refused");
  const bool device = device_number(operands[0]) >= 0 && operands[0].starts_with("/");
  (device ? result.umount.device : result.umount.directory) = operands[0];
  return result;
}

std::optional<int> run_as_helper(Console& console, std::string_view program, const Words& args) {
  const std::string name = base_name(program);
  if (name == kMountHelper.name) return run_mount_helper(console, args);
  if (name == kUmountHelper.name) return run_umount_helper(console, args);
  return std::nullopt;
}

}  // namespace ploop::cli
