#include "control/registry.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "base/subprocess.hpp"
#include "base/sysfs.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "control/launcher.hpp"
#include "control/process.hpp"

namespace ploop::control {
namespace {

constexpr std::size_t kMaxStateFile = 8u << 20;

constexpr std::uint64_t kSpareUnit = 4096;

std::string lock_path(int number) {
  return device_run_directory(number) + "/lock";
}
std::string spare_path(int number) {
  return device_run_directory(number) + "/spare";
}

/// Names in a directory; a missing directory has none.
Result<std::vector<std::string>> names_in(const std::string& directory) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) {
    if (errno == ENOENT) return names;
    return fail_errno(ExitCode::Sysfs, "read " + directory);
  }
  while (const dirent* entry = ::readdir(dir))
    names.emplace_back(entry->d_name);
  ::closedir(dir);
  return names;
}

/// N of "ploopN" exactly; -1 otherwise.
int number_of_directory(std::string_view name) {
  const int number =
      name.find('p', 5) == std::string_view::npos && name.starts_with("ploop") ? device_number(name) : -1;
  return number >= 0 && "ploop" + std::to_string(number) == name ? number : -1;
}

Result<std::vector<int>> numbers_with_directory() {
  std::vector<int> numbers;
  for (const std::string& name : TRY(names_in(run_directory()))) {
    if (const int number = number_of_directory(name); number >= 0) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<DeviceState> load_state(int number) {
  const std::string path = state_path(number);
  const std::string text = TRY(read_file(path, kMaxStateFile));
  DeviceState state = TRY_CONTEXT(path, decode_device_state(text));
  if (state.number != number) return fail(ExitCode::Protocol, path + ": belongs to another device");
  return state;
}

/// Who may not open the lock file (0600) asks /proc about the guardian instead. What can't be found out
/// counts as alive: of a dead device everything is removed.
bool guardian_lives(int number) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  Fd file{::open(lock_path(number).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  if (file) return ::fcntl(file.get(), F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  if (errno != EACCES) return true;
  const Result<DeviceState> state = load_state(number);
  return state && process_start_time(state->guardian_pid) == state->guardian_start &&
         state->guardian_start != 0;
}

void remove_node(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0 && S_ISBLK(st.st_mode)) ::unlink(path.c_str());
}

/// Removes /dev/ploopN and /dev/ploopNpM. With a state, only when the whole device's node has the number that
/// it says: after a crash the name could have been taken over by something else.
void remove_nodes(int number, const DeviceState* state) {
  struct stat st {};
  const bool exists = ::lstat(device_path(number).c_str(), &st) == 0;
  if (exists && state != nullptr && st.st_rdev != makedev(state->major, state->minor)) return;
  const Result<std::vector<std::string>> names = names_in(device_directory());
  if (!names) return;
  const std::string whole = base_name(device_path(number));
  for (const std::string& name : *names) {
    if (name == whole || (name.starts_with(whole + "p") && device_number(name) == number)) {
      remove_node(device_directory() + "/" + name);
    }
  }
}

/// The directory of one device with everything in it. There are only plain files and a socket.
Status remove_directory(int number) {
  const std::string directory = device_run_directory(number);
  for (const std::string& name : TRY(names_in(directory))) {
    if (name != "." && name != "..") ::unlink((directory + "/" + name).c_str());
  }
  if (::rmdir(directory.c_str()) != 0 && errno != ENOENT)
    return fail_errno(ExitCode::Unlink, "remove " + directory);
  return {};
}

/// Serialises taking and cleaning of numbers; released by destruction.
Result<Fd> lock_registry() {
  const std::string directory = run_directory();
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno(ExitCode::Mkdir, "make " + directory);
  const std::string path = directory + "/lock";
  Fd file = TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, ExitCode::Lock));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  while (::fcntl(file.get(), F_OFD_SETLKW, &lock) != 0) {
    if (errno != EINTR) return fail_errno(ExitCode::Lock, "lock " + path);
  }
  return file;
}

bool exists(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}

/// The kernel still has the block device of a dead one, for somebody who uses it. A loop device of ours has a
/// file without a name, which those of other programs do not have. A ublk device leaves sysfs when it is
/// stopped, and if nobody had used it then, its mark would not be there any more. A live device of ours may
/// have got the same number since.
bool kernel_has(const DeviceState& state, const std::vector<DeviceState>& live) {
  const auto same = [&](const DeviceState& d) { return d.major == state.major && d.minor == state.minor; };
  if (state.major == 0 || std::any_of(live.begin(), live.end(), same)) return false;
  const std::string block = sysfs_block_device(makedev(state.major, state.minor));
  if (exists(ublk_path(state.number))) return !exists(block);
  const Result<std::string> file = read_file(block + "/loop/backing_file", 4096);
  return file && *file == "/\n";
}

/// What is known about a number without a guardian.
DeadDevice examine(int number, const std::vector<DeviceState>& live) {
  DeadDevice dead{number, std::nullopt, false};
  if (Result<DeviceState> state = load_state(number)) dead.state = *std::move(state);
  dead.in_use = dead.state && kernel_has(*dead.state, live);
  return dead;
}

/// A ublk device whose keeper was killed, too, waits for another server for ever, and so does everybody who
/// uses it: it is stopped. The kernel is asked by the daemon program, since its commands are not for this
/// layer. Tells `dead` whether somebody still has it.
Status end_ublk_device(DeadDevice& dead) {
  constexpr std::string_view kNode = "/dev/ublkb";
  const Result<std::string> mark = read_file(ublk_path(dead.number), 64);
  if (!mark) return {};
  std::vector<std::string> command{TRY(find_daemon()), "remove-ublk", std::string(trim(*mark))};
  if (dead.state && dead.state->backing_device.starts_with(kNode))
    command.push_back(dead.state->backing_device.substr(kNode.size()));
  const RunResult ended = TRY(run_program(command));
  dead.in_use = ended.status == static_cast<int>(ExitCode::Busy);
  if (ended.status == 0 || dead.in_use) return {};
  return fail(ExitCode::DeviceIoctl, "Can't end the ublk device of " + device_path(dead.number) + ": " +
                                         std::string(trim(ended.output)));
}

/// The same among others: one that can't be ended is said, and stays as if somebody used it.
void try_to_end_ublk_device(DeadDevice& dead) {
  const Status ended = end_ublk_device(dead);
  if (ended) return;
  log_error("{}", ended.error().message());
  dead.in_use = true;
}

/// With the registry locked.
Status remove_remains(const DeadDevice& dead) {
  if (dead.state) {
    remove_nodes(dead.number, &*dead.state);
    ::rename(log_path(dead.number).c_str(), failed_log_path(dead.number).c_str());
  }
  return remove_directory(dead.number);
}

/// With the registry locked: what a dead device left goes away. False when the device lives.
Result<bool> clean_number(int number) {
  if (guardian_lives(number)) return false;
  DeadDevice dead = examine(number, {});
  TRY(end_ublk_device(dead));
  TRY(remove_remains(dead));
  return true;
}

bool has_directory(int number) {
  return exists(device_run_directory(number));
}

/// With the registry locked, for a dead device.
Result<bool> still_used(int number) {
  DeadDevice dead = examine(number, TRY(list_devices()));
  try_to_end_ublk_device(dead);
  return dead.in_use;
}

/// With the registry locked: makes the directory and takes its lock.
Result<Fd> make_directory(int number) {
  const std::string directory = device_run_directory(number);
  if (::mkdir(directory.c_str(), 0755) != 0) return fail_errno(ExitCode::Mkdir, "make " + directory);
  Rollback rollback;
  rollback.add([&] { ignore(remove_directory(number), "the first error is the one to report"); });
  Fd file = TRY(open_file(lock_path(number), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, ExitCode::Lock));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) != 0)
    return fail_errno(ExitCode::Lock, "lock " + lock_path(number));
  rollback.commit();
  return file;
}

}  // namespace

std::string state_path(int number) {
  return device_run_directory(number) + "/state";
}
std::string control_path(int number) {
  return device_run_directory(number) + "/control";
}
std::string admin_path(int number) {
  return device_run_directory(number) + "/admin";
}
std::string map_path(int number) {
  return device_run_directory(number) + "/map";
}
std::string ublk_path(int number) {
  return device_run_directory(number) + "/ublk";
}
std::string log_path(int number) {
  return device_run_directory(number) + "/log";
}
std::string crash_log_path(int number) {
  return device_run_directory(number) + ".crashed.log";
}
std::string failed_log_path(int number) {
  return device_run_directory(number) + ".failed.log";
}

Result<std::vector<DeviceState>> list_devices() {
  std::vector<DeviceState> devices;
  for (const int number : TRY(numbers_with_directory())) {
    // A device may be on its way up or down: no state, or a state without a guardian, is no device.
    if (!guardian_lives(number)) continue;
    if (Result<DeviceState> state = load_state(number)) devices.push_back(*std::move(state));
  }
  return devices;
}

Result<std::optional<DeviceState>> find_device(int number) {
  if (number < 0 || !guardian_lives(number)) return std::optional<DeviceState>{};
  Result<DeviceState> state = load_state(number);
  if (state) return std::optional<DeviceState>(*std::move(state));
  if (state.error().sys_errno == ENOENT) return std::optional<DeviceState>{};
  return fail(std::move(state).error());
}

Result<int> next_free_number() {
  for (int number = 0; number <= kMaxDeviceNumber; ++number) {
    if (!exists(device_path(number)) && !has_directory(number)) return number;
  }
  return fail(ExitCode::Device, "No free device number");
}

Result<std::vector<DeadDevice>> cleanup_stale() {
  std::vector<DeadDevice> found;
  const std::vector<int> numbers = TRY(numbers_with_directory());
  if (numbers.empty()) return found;
  const Fd registry = TRY(lock_registry());
  const std::vector<DeviceState> live = TRY(list_devices());
  for (const int number : numbers) {
    // One that was just being taken down in order is gone by now.
    if (!has_directory(number) || guardian_lives(number)) continue;
    DeadDevice dead = examine(number, live);
    try_to_end_ublk_device(dead);
    if (dead.in_use) {
      remove_nodes(number, dead.state ? &*dead.state : nullptr);
    } else {
      TRY(remove_remains(dead));
    }
    found.push_back(std::move(dead));
  }
  return found;
}

Result<std::vector<DeadDevice>> dead_devices() {
  std::vector<DeadDevice> found;
  const Result<Fd> registry = lock_registry();  // who may not take it looks without
  const std::vector<DeviceState> live = TRY(list_devices());
  for (const int number : TRY(numbers_with_directory())) {
    DeadDevice dead = examine(number, live);
    // Without the lock file it is one that is being taken down in order.
    if (dead.state && exists(lock_path(number)) && !guardian_lives(number)) found.push_back(std::move(dead));
  }
  return found;
}

Status clean_dead_device(int number) {
  if (!has_directory(number)) return {};
  const Fd registry = TRY(lock_registry());
  if (has_directory(number)) TRY(clean_number(number));
  return {};
}

Status reserve_state(const DeviceState& state) {
  const std::string path = spare_path(state.number);
  const std::uint64_t wanted = round_up(encode_device_state(state).size() + 1, kSpareUnit) + kSpareUnit;
  const Fd file = TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, ExitCode::Create));
  // Asked for again although it is there: what has its blocks takes none.
  if (const int error = ::posix_fallocate(file.get(), 0, static_cast<off_t>(wanted)); error != 0) {
    return fail(
        errno_error(ExitCode::Create, error,
                    "The runtime directory " + run_directory() + " has no space for the device's state"));
  }
  return {};
}

Status save_state(const DeviceState& state) {
  const auto save = [&] {
    return write_file_atomic(state_path(state.number), encode_device_state(state) + "\n", 0644);
  };
  Status saved = save();
  if (!saved && (saved.error().sys_errno == ENOSPC || saved.error().sys_errno == EDQUOT)) {
    ::unlink(spare_path(state.number).c_str());
    saved = save();
  }
  if (saved) ignore(reserve_state(state), "whoever needs it asks for it again");
  return saved;
}

Result<DeviceClaim> DeviceClaim::take(int wanted) {
  const Fd registry = TRY(lock_registry());
  const int first = wanted < 0 ? 0 : wanted;
  const int last = wanted < 0 ? kMaxDeviceNumber : wanted;
  for (int number = first; number <= last; ++number) {
    if (has_directory(number)) {
      const bool lives = guardian_lives(number);
      if (wanted >= 0 && lives)
        return fail(ExitCode::Device, "Device " + device_path(number) + " is already in use");
      // What is known about a dead one is of use as long as somebody has to get rid of its file system.
      if (lives || (wanted < 0 && TRY(still_used(number)))) continue;
      TRY(clean_number(number));
    }
    if (exists(device_path(number))) {
      if (wanted >= 0) return fail(ExitCode::Device, device_path(number) + " exists and is not ours");
      continue;
    }
    return DeviceClaim(number, TRY(make_directory(number)));
  }
  return fail(ExitCode::Device, "No free device number");
}

Status DeviceClaim::release() {
  if (number_ < 0) return {};
  const Fd registry = TRY(lock_registry());
  remove_nodes(number_, nullptr);
  const Status removed = remove_directory(number_);
  lock_.reset();
  number_ = -1;
  return removed;
}

}  // namespace ploop::control
