#include "transport/fuse/loop_device.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.hpp"
#include "base/units.hpp"

namespace ploop::transport::fuse {
namespace {

constexpr int kLoopMajor = 7;
constexpr int kAttempts = 100;

/// /dev/loopN; makes the node where no device manager does. The number of a loop device's minor is shifted
/// when the kernel reserves partitions, so it comes from sysfs.
Result<Fd> open_node(const std::string& path, int number, int flags) {
  Fd device{::open(path.c_str(), flags | O_CLOEXEC)};
  if (device || errno != ENOENT) {
    if (!device) return fail_errno(ExitCode::Device, "open " + path);
    return device;
  }
  const std::string attribute = "/sys/block/loop" + std::to_string(number) + "/dev";
  const std::string text = TRY(read_file(attribute, 64));
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return fail(ExitCode::Sysfs, "Can't understand " + attribute);
  const auto minor_number = static_cast<unsigned>(std::stoul("0" + text.substr(colon + 1)));
  if (::mknod(path.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, minor_number)) != 0 && errno != EEXIST) {
    return fail_errno(ExitCode::Mknod, "make " + path);
  }
  return open_file(path, flags, 0, ExitCode::Device);
}

loop_config configuration(const Fd& file, bool read_only) {
  loop_config config{};
  config.fd = static_cast<__u32>(file.get());
  config.block_size = kSectorSize;
  config.info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN;
  if (read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  return config;
}

}  // namespace

Result<LoopDevice> LoopDevice::attach(const Fd& file, bool read_only) {
  struct stat st {};
  if (::fstat(file.get(), &st) != 0) return fail_errno(ExitCode::Stat, "stat the FUSE file");
  const Fd control = TRY(open_file("/dev/loop-control", O_RDWR, 0, ExitCode::Device));
  const loop_config config = configuration(file, read_only);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return fail_errno(ExitCode::Device, "find a free loop device");
    LoopDevice loop;
    loop.path_ = "/dev/loop" + std::to_string(number);
    loop.device_ = TRY(open_node(loop.path_, number, read_only ? O_RDONLY : O_RDWR));
    if (::ioctl(loop.device_.get(), LOOP_CONFIGURE, &config) != 0) {
      // Between "free" and "configure" another process may have taken it.
      if (errno == EBUSY) continue;
      return fail_errno(ExitCode::DeviceIoctl, "set up " + loop.path_);
    }
    loop.file_device_ = st.st_dev;
    if (::fstat(loop.device_.get(), &st) != 0) return fail_errno(ExitCode::Stat, "stat " + loop.path_);
    loop.major_ = major(st.st_rdev);
    loop.minor_ = minor(st.st_rdev);
    loop_info64 info{};
    loop.direct_io_ = ::ioctl(loop.device_.get(), LOOP_GET_STATUS64, &info) == 0 &&
                      (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0;
    return loop;
  }
  return fail(errno_error(ExitCode::Device, EBUSY, "find a free loop device"));
}

bool LoopDevice::still_ours() const {
  loop_info64 info{};
  return ::ioctl(device_.get(), LOOP_GET_STATUS64, &info) == 0 && info.lo_device == file_device_;
}

Status LoopDevice::flush() {
  if (::fsync(device_.get()) != 0) return fail_errno(ExitCode::Fsync, "flush " + path_);
  return {};
}

Status LoopDevice::take_size_of(const Fd& file) {
  struct statx facts {};
  // Forced: the kernel believes the size it heard last, and the loop device asks nobody.
  if (::statx(file.get(), "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &facts) != 0) {
    return fail_errno(ExitCode::Stat, "ask for the new size");
  }
  // The kernel throws away what it hears of a size while writes end, which under load is always; a size that
  // is set it keeps.
  const int flags = ::fcntl(file.get(), F_GETFL);
  const bool writable = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
  if (writable && ::ftruncate(file.get(), static_cast<off_t>(facts.stx_size)) != 0) {
    return fail_errno(ExitCode::DeviceIoctl, "set the new size of the file below " + path_);
  }
  if (::ioctl(device_.get(), LOOP_SET_CAPACITY, 0) != 0)
    return fail_errno(ExitCode::DeviceIoctl, "resize " + path_);
  return {};
}

Result<bool> LoopDevice::release() {
  device_.reset();
  // Opened again, the device shows whether the close was the last one. Not yet cleared and held again is the
  // same state as before the call.
  Fd again{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!again) {
    if (errno == ENXIO || errno == ENOENT || errno == ENODEV) return true;
    return fail_errno(ExitCode::Device, "open " + path_);
  }
  device_ = std::move(again);
  if (still_ours()) return false;
  device_.reset();
  return true;
}

}  // namespace ploop::transport::fuse
