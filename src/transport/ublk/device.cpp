#include "transport/ublk/device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <thread>

#include "base/log.hpp"
#include "base/units.hpp"
#include "transport/ublk/data_path.hpp"
#include "transport/ublk/openers.hpp"

namespace ploop::transport::ublk {
namespace {

using Clock = std::chrono::steady_clock;

// The memory of all tags (kMostTags) is half of what a device may cost, as with FUSE. Two queues take the
// contention out of the kernel's side; the worker is one thread.
constexpr unsigned kMostQueues = 2;
constexpr std::uint32_t kMaxTransfer = 128 * 1024;
/// The largest range of one discard that whole sectors in 32 bits of bytes allow, as of a loop device.
constexpr std::uint32_t kMaxDiscardSectors = 0xffffffffu / kSectorSize;
constexpr auto kNodeTimeout = std::chrono::seconds(5);
constexpr auto kNodePause = std::chrono::milliseconds(5);
/// The end of a worker takes the kernel some time; whoever has the disk open otherwise may take for ever.
constexpr auto kRemovePatience = std::chrono::seconds(2);
/// A program that looks at every new or closed disk for a moment (udev) is not a user.
constexpr auto kGlance = std::chrono::milliseconds(500);

Result<dev_t> sysfs_number(const std::string& attribute) {
  const std::string text = TRY(read_file(attribute, 64));
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (std::sscanf(text.c_str(), "%u:%u", &major_number, &minor_number) != 2) {
    return fail(ExitCode::Sysfs, "Can't understand " + attribute);
  }
  return makedev(major_number, minor_number);
}

/// Where no device manager makes nodes, we do.
void make_missing_node(const std::string& path, mode_t type, const std::string& attribute) {
  if (const Result<dev_t> number = sysfs_number(attribute)) ::mknod(path.c_str(), type | 0600, *number);
}

/// There is no node yet, or the driver has not heard yet of the end of the last server.
bool comes_soon(int error) {
  return error == ENOENT || error == ENXIO || error == EBUSY;
}

/// Best effort: a device without it is slower, or recovers later, but right.
void tune(std::uint32_t id, const char* attribute, const std::string& value) {
  const Result<Fd> file = open_file(fmt::format("/sys/block/ublkb{}/queue/{}", id, attribute), O_WRONLY);
  if (!file || !write_all(file->get(), value, attribute))
    log(LogLevel::Detail, "ublkb{}: can't set {}", id, attribute);
}

Params params_of(const Disk& disk, const Geometry& geometry) {
  Params params;
  params.length = kParamsLength;
  params.types = kParamBasic | kParamDiscard;
  params.attributes = kAttrVolatileCache | kAttrFua | (disk.read_only ? kAttrReadOnly : 0);
  params.logical_shift = static_cast<std::uint8_t>(std::countr_zero(kSectorSize));
  params.max_sectors = geometry.max_transfer / kSectorSize;
  params.sectors = disk.sectors;
  params.discard_granularity = disk.discard_granularity;
  params.max_discard_sectors = kMaxDiscardSectors;
  params.max_write_zeroes_sectors = kMaxDiscardSectors;
  params.max_discard_segments = 1;
  if (geometry.path == DataPath::ZeroCopy) {
    // The pages of requests go into direct I/O on the images, and what is not aligned for that would have to
    // be copied.
    params.length = kAlignedParamsLength;
    params.types |= kParamAlignment;
    params.alignment_mask = kSectorSize - 1;
  }
  return params;
}

}  // namespace

Device::Device(Control control, const DeviceInfo& info)
    : control_(std::move(control)), id_(info.id), opener_(info.server_pid) {
  geometry_.queues = info.queues;
  geometry_.depth = info.depth;
  geometry_.max_transfer = info.max_io_bytes;
  if ((info.flags & kFeatureUserCopy) != 0) geometry_.path = DataPath::UserCopy;
  if ((info.flags & kFeatureAutoBuffer) != 0) geometry_.path = DataPath::ZeroCopy;
  geometry_.can_resize = (info.flags & kFeatureUpdateSize) != 0;
}

Result<Device> Device::add(Control control, std::uint64_t token, DataPath path) {
  DeviceInfo wanted;
  const auto processors = static_cast<unsigned>(std::max(::sysconf(_SC_NPROCESSORS_CONF), 1L));
  wanted.queues = static_cast<std::uint16_t>(std::min(processors, kMostQueues));
  wanted.depth = static_cast<std::uint16_t>(kMostTags / wanted.queues);
  wanted.max_io_bytes = kMaxTransfer;
  wanted.server_flags = token;
  // A scan of partitions by the kernel would come behind our back; who wants partitions asks for them.
  wanted.flags = control.features() &
                 (kFeatureUserRecovery | kFeatureReissue | kFeatureIoctlEncode | kFeatureUpdateSize |
                  kFeatureSafeStop | kFeatureNoAutoPartScan | features_for(path));
  const DeviceInfo made = TRY(control.add(wanted));
  return Device(std::move(control), made);
}

Result<Device> Device::find(Control control, std::uint64_t token) {
  for (const std::uint32_t id : device_ids()) {
    const Result<DeviceInfo> info = control.info(id);
    if (!info || info->server_flags != token) continue;
    Device device(std::move(control), *info);
    if (info->state != DeviceState::Dead) TRY(device.find_number());
    device.recovering_ = info->state == DeviceState::Quiesced;
    return device;
  }
  return fail(errno_error(ExitCode::Device, ENODEV, "find the ublk device"));
}

std::string Device::path() const {
  return fmt::format("/dev/ublkb{}", id_);
}

Result<Fd> Device::open_server() const {
  const std::string path = fmt::format("/dev/ublkc{}", id_);
  const Clock::time_point deadline = Clock::now() + kNodeTimeout;
  for (;;) {
    Result<Fd> file = open_file(path, O_RDWR, 0, ExitCode::Device);
    if (file || !comes_soon(file.error().sys_errno)) return file;
    if (Clock::now() >= deadline) return file;
    std::this_thread::sleep_for(kNodePause);
    make_missing_node(path, S_IFCHR, fmt::format("/sys/class/ublk-char/ublkc{}/dev", id_));
  }
}

Status Device::find_number() {
  const std::string attribute = fmt::format("/sys/block/ublkb{}/dev", id_);
  number_ = TRY(sysfs_number(attribute));
  if (::access(path().c_str(), F_OK) != 0) make_missing_node(path(), S_IFBLK, attribute);
  return {};
}

Status Device::start(const Disk& disk) {
  opener_ = ::getpid();
  TRY(control_.set_params(id_, params_of(disk, geometry_)));
  TRY(control_.start(id_, opener_));
  tune(id_, "scheduler", "none");
  // One command of each queue is always with the kernel then: by that it notices the death of a server at
  // once; without one it has to wait for a request to time out (30 s) in kernels like 6.12.
  tune(id_, "nr_requests", std::to_string(geometry_.depth - 1));
  return find_number();
}

Result<Fd> Device::claim() const {
  Fd disk{::open(path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)};
  if (!disk && errno != EBUSY) return fail_errno(ExitCode::Device, "open " + path());
  struct stat st {};
  if (disk && (::fstat(disk.get(), &st) != 0 || st.st_rdev != number_)) {
    return fail(ExitCode::Device, path() + " is not the device that was made");
  }
  return disk;
}

Result<bool> Device::nobody_else() const {
  const std::vector<dev_t> devices = disk_and_partitions(number_);
  return !open_elsewhere(devices);
}

Result<bool> Device::stop_unused(Fd claim) {
  const Clock::time_point deadline = Clock::now() + kGlance;
  const bool kernel_tells = control_.has(kFeatureSafeStop);
  if (kernel_tells) claim.reset();
  for (;;) {
    if (kernel_tells) {
      if (TRY(control_.try_stop(id_))) return true;
    } else if (TRY(nobody_else())) {
      TRY(control_.stop(id_));
      return true;
    }
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kNodePause);
  }
}

Status Device::remove() {
  if (!TRY(control_.remove(id_, kRemovePatience)))
    log(LogLevel::Detail, "ublkb{}: goes with its last user", id_);
  return {};
}

Result<bool> Device::begin_recovery() {
  const Result<bool> begun = control_.start_recovery(id_);
  // A server that was given the file and died before it had fetched: the kernel still waits for one, and says
  // EINVAL here.
  const bool still_begun = !begun && recovering_ && begun.error().sys_errno == EINVAL;
  if (!begun && !still_begun) return begun;
  if (begun && !*begun) return false;
  recovering_ = true;
  opener_ = ::getpid();
  return true;
}

Result<std::uint64_t> Device::sectors() const {
  const std::string attribute = fmt::format("/sys/block/ublkb{}/size", id_);
  const std::string text = TRY(read_file(attribute, 64));
  std::uint64_t sectors = 0;
  const auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), sectors);
  if (err != std::errc() || end == text.data()) return fail(ExitCode::Sysfs, "Can't understand " + attribute);
  return sectors;
}

Result<bool> Device::finish_recovery(std::chrono::milliseconds patience) {
  const bool finished = TRY(control_.end_recovery(id_, opener_, patience));
  if (finished) recovering_ = false;
  return finished;
}

}  // namespace ploop::transport::ublk
