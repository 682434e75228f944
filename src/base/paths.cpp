#include "base/paths.hpp"

#include <charconv>
#include <cstdlib>
#include <memory>

namespace ploop {
namespace {

std::string from_environment(const char* variable, const char* fallback) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? value : fallback;
}

}  // namespace

std::string run_directory() {
  return from_environment("PLOOP_RUNDIR", "/run/ploop");
}
std::string device_run_directory(int device_number) {
  return run_directory() + "/ploop" + std::to_string(device_number);
}
std::string device_directory() {
  return from_environment("PLOOP_DEVDIR", "/dev");
}
std::string device_path(int device_number) {
  return device_directory() + "/ploop" + std::to_string(device_number);
}
std::string partition_path(int device_number, int partition) {
  return device_path(device_number) + "p" + std::to_string(partition);
}

int device_number(std::string_view name) {
  for (const std::string& prefix :
       {device_directory() + "/mapper/", device_directory() + "/", std::string("/dev/")}) {
    if (name.starts_with(prefix)) {
      name.remove_prefix(prefix.size());
      break;
    }
  }
  if (!name.starts_with("ploop")) return -1;
  name.remove_prefix(5);
  int number = -1;
  const auto [end, err] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (err != std::errc{} || number < 0) return -1;
  name.remove_prefix(static_cast<std::size_t>(end - name.data()));
  if (name.empty()) return number;
  int partition = -1;
  if (name.front() != 'p') return -1;
  name.remove_prefix(1);
  const auto [end2, err2] = std::from_chars(name.data(), name.data() + name.size(), partition);
  return err2 == std::errc{} && end2 == name.data() + name.size() && partition > 0 ? number : -1;
}

std::string directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  if (slash == 0) return "/";
  return std::string(path.substr(0, slash));
}

std::string base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

Result<std::string> canonical_path(const std::string& path, ExitCode code) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), &std::free);
  if (!real) return fail_errno(code, "Can't resolve " + path);
  return std::string(real.get());
}

Result<std::string> canonical_new_path(const std::string& path, ExitCode code) {
  const std::string dir = TRY(canonical_path(directory_of(path), code));
  return (dir == "/" ? "" : dir) + "/" + base_name(path);
}

}  // namespace ploop
