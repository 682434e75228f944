#include "transport/ublk/openers.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "base/sysfs.hpp"

namespace ploop::transport::ublk {
namespace {

namespace stdfs = std::filesystem;

template <typename Use>
void for_each_entry(const stdfs::path& directory, Use use) {
  std::error_code error;
  for (stdfs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    use(it->path());
}

bool contains(std::span<const dev_t> devices, dev_t device) {
  return std::ranges::find(devices, device) != devices.end();
}

/// DONT_SYNC: a file server that does not answer must not stop us.
bool leads_to(const stdfs::path& link, std::span<const dev_t> devices) {
  struct statx st {};
  return ::statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) == 0 &&
         S_ISBLK(st.stx_mode) && contains(devices, makedev(st.stx_rdev_major, st.stx_rdev_minor));
}

/// A loop device has its file open in the kernel, where no process shows it.
bool loop_on(const stdfs::path& sysfs, std::span<const dev_t> devices) {
  std::error_code error;
  if (!stdfs::exists(sysfs / "loop/backing_file", error)) return false;
  const Fd loop{::open(("/dev/" + sysfs.filename().string()).c_str(), O_RDONLY | O_CLOEXEC)};
  loop_info64 info{};
  return loop && ::ioctl(loop.get(), LOOP_GET_STATUS64, &info) == 0 && contains(devices, info.lo_rdevice);
}

}  // namespace

std::vector<dev_t> disk_and_partitions(dev_t disk) {
  std::vector<dev_t> devices{disk};
  for_each_entry(sysfs_block_device(disk), [&](const stdfs::path& entry) {
    std::error_code error;
    if (stdfs::is_symlink(entry, error) || !stdfs::exists(entry / "partition", error)) return;
    const Result<std::string> text = read_file((entry / "dev").string(), 64);
    unsigned major_number = 0;
    unsigned minor_number = 0;
    if (text && std::sscanf(text->c_str(), "%u:%u", &major_number, &minor_number) == 2) {
      devices.push_back(makedev(major_number, minor_number));
    }
  });
  return devices;
}

bool open_elsewhere(std::span<const dev_t> devices) {
  bool found = false;
  for (const dev_t device : devices) {
    for_each_entry(sysfs_block_device(device) + "/holders", [&](const stdfs::path&) { found = true; });
  }
  for_each_entry("/sys/block", [&](const stdfs::path& block) {
    if (!found && block.filename().string().starts_with("loop")) found = loop_on(block, devices);
  });
  const std::string self = std::to_string(::getpid());
  for_each_entry("/proc", [&](const stdfs::path& process) {
    const std::string name = process.filename().string();
    if (found || name == self || std::isdigit(static_cast<unsigned char>(name.front())) == 0) return;
    for_each_entry(process / "fd",
                   [&](const stdfs::path& link) { found = found || leads_to(link, devices); });
  });
  return found;
}

}  // namespace ploop::transport::ublk
