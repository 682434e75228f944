#include "control/registry.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/paths.hpp"
#include "control/process.hpp"

namespace ploop::control {
namespace {

constexpr std::size_t kMaxStateFile = 8u << 20;

std::string lock_path(int number) { return device_run_directory(number) + "/lock"; }

/// Names in a directory; a missing directory has none.
Result<std::vector<std::string>> names_in(const std::string& directory) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) {
    if (errno == ENOENT) return names;
    return fail_errno(ExitCode::Sysfs, "read " + directory);
  }
  while (const dirent* entry = ::readdir(dir)) names.emplace_back(entry->d_name);
  ::closedir(dir);
  return names;
}

/// N of "ploopN" exactly; -1 otherwise.
int number_of_directory(std::string_view name) {
  const int number = name.find('p', 5) == std::string_view::npos && name.starts_with("ploop") ? device_number(name) : -1;
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

/// Who may not open the lock file (0600) asks /proc about the guardian instead.
bool guardian_lives(int number) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  Fd file{::open(lock_path(number).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  if (file) return ::fcntl(file.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  if (errno != EACCES) return false;
  const Result<DeviceState> state = load_state(number);
  return state && process_start_time(state->guardian_pid) == state->guardian_start && state->guardian_start != 0;
}

void remove_node(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0 && S_ISBLK(st.st_mode)) ::unlink(path.c_str());
}

/// Removes /dev/ploopN and /dev/ploopNpM. With a state, only when the whole device's node has the number that it says: after
/// a crash the name could have been taken over by something else.
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
  if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) return fail_errno(ExitCode::Unlink, "remove " + directory);
  return {};
}

/// Serialises taking and cleaning of numbers; released by destruction.
Result<Fd> lock_registry() {
  const std::string directory = run_directory();
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(ExitCode::Mkdir, "make " + directory);
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

/// With the registry locked: what a dead device left goes away. False when the device lives.
Result<bool> clean_number(int number) {
  if (guardian_lives(number)) return false;
  const Result<DeviceState> state = load_state(number);
  if (state) remove_nodes(number, &*state);
  TRY(remove_directory(number));
  return true;
}

/// With the registry locked: makes the directory and takes its lock.
Result<Fd> make_directory(int number) {
  const std::string directory = device_run_directory(number);
  if (::mkdir(directory.c_str(), 0755) != 0) return fail_errno(ExitCode::Mkdir, "make " + directory);
  Fd file = TRY(open_file(lock_path(number), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, ExitCode::Lock));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) != 0) return fail_errno(ExitCode::Lock, "lock " + lock_path(number));
  return file;
}

}  // namespace

std::string state_path(int number) { return device_run_directory(number) + "/state"; }
std::string control_path(int number) { return device_run_directory(number) + "/control"; }
std::string map_path(int number) { return device_run_directory(number) + "/map"; }
std::string log_path(int number) { return device_run_directory(number) + "/log"; }

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
    struct stat st {};
    const bool node = ::lstat(device_path(number).c_str(), &st) == 0;
    if (!node && ::lstat(device_run_directory(number).c_str(), &st) != 0) return number;
  }
  return fail(ExitCode::Device, "No free device number");
}

Status cleanup_stale() {
  const std::vector<int> numbers = TRY(numbers_with_directory());
  if (numbers.empty()) return {};
  const Fd registry = TRY(lock_registry());
  for (const int number : numbers) TRY(clean_number(number));
  return {};
}

Status save_state(const DeviceState& state) {
  return write_file_atomic(state_path(state.number), encode_device_state(state) + "\n", 0644);
}

Result<DeviceClaim> DeviceClaim::take(int wanted) {
  const Fd registry = TRY(lock_registry());
  const int first = wanted < 0 ? 0 : wanted;
  const int last = wanted < 0 ? kMaxDeviceNumber : wanted;
  for (int number = first; number <= last; ++number) {
    struct stat st {};
    if (::lstat(device_run_directory(number).c_str(), &st) == 0 && !TRY(clean_number(number))) {
      if (wanted >= 0) return fail(ExitCode::Device, "Device " + device_path(number) + " is already in use");
      continue;
    }
    if (::lstat(device_path(number).c_str(), &st) == 0) {
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
