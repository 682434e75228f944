#include "fs/partition.hpp"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "base/sysfs.hpp"
#include "base/text.hpp"

namespace ploop::fs {
namespace {

namespace stdfs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct KernelPartition {
  int number = 0;
  PartitionRange range;
  dev_t device = 0;
};

/// Calls `attempt` (0 or -1 with errno) until it does not fail with EBUSY any more or the time is over.
bool retry_while_busy(std::chrono::milliseconds limit, const std::function<int()>& attempt) {
  const auto end = Clock::now() + limit;
  std::chrono::milliseconds pause{10};
  while (attempt() != 0) {
    if (errno != EBUSY || Clock::now() + pause > end) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds{500});
  }
  return true;
}

Result<std::uint64_t> read_number(const stdfs::path& path) {
  const std::string text = TRY(read_file(path.string(), 64));
  const std::string_view digits = trim(text);
  std::uint64_t value = 0;
  const auto [end, err] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (err != std::errc() || end != digits.data() + digits.size())
    return fail(ExitCode::Sysfs, path.string() + ": not a number");
  return value;
}

/// "259:3" as a device number.
Result<dev_t> read_device_number(const stdfs::path& path) {
  const std::string text = TRY(read_file(path.string(), 64));
  const std::string_view digits = trim(text);
  unsigned major_number = 0;
  unsigned minor_number = 0;
  const char* const end = digits.data() + digits.size();
  const auto first = std::from_chars(digits.data(), end, major_number);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == ':') {
    const auto second = std::from_chars(first.ptr + 1, end, minor_number);
    if (second.ec == std::errc() && second.ptr == end) return makedev(major_number, minor_number);
  }
  return fail(ExitCode::Sysfs, path.string() + ": not a device number");
}

Result<dev_t> number_of(int fd, const std::string& device) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno(ExitCode::Device, "stat " + device);
  if (!S_ISBLK(st.st_mode)) return fail(ExitCode::Device, device + " is not a block device");
  return st.st_rdev;
}

/// One sysfs subdirectory that may be a partition; it can vanish while it is read.
std::optional<KernelPartition> read_kernel_partition(const stdfs::path& directory) {
  const auto number = read_number(directory / "partition");
  const auto start = read_number(directory / "start");
  const auto size = read_number(directory / "size");
  const auto device = read_device_number(directory / "dev");
  if (!number || !start || !size || !device) return std::nullopt;
  return KernelPartition{static_cast<int>(*number), {Sectors{*start}, Sectors{*size}}, *device};
}

Result<std::vector<KernelPartition>> kernel_partitions(dev_t device) {
  const std::string directory = sysfs_block_device(device);
  std::error_code error;
  stdfs::directory_iterator entries(directory, error);
  if (error) return fail(errno_error(ExitCode::Sysfs, error.value(), "read " + directory));
  std::vector<KernelPartition> found;
  for (; !error && entries != stdfs::directory_iterator(); entries.increment(error)) {
    if (!entries->is_directory(error) || entries->is_symlink(error)) continue;
    if (auto partition = read_kernel_partition(entries->path())) found.push_back(*partition);
  }
  return found;
}

Result<std::vector<KernelPartition>> kernel_partitions(int fd, const std::string& device) {
  return kernel_partitions(TRY(number_of(fd, device)));
}

/// BLKPG for one partition: 0, or -1 with errno.
int change_partition(int fd, int operation, int number, const PartitionRange& range) {
  blkpg_partition partition{};
  partition.pno = number;
  partition.start = static_cast<long long>(to_bytes(range.start).value);
  partition.length = static_cast<long long>(to_bytes(range.length).value);
  blkpg_ioctl_arg argument{};
  argument.op = operation;
  argument.datalen = sizeof partition;
  argument.data = &partition;
  return ::ioctl(fd, BLKPG, &argument);
}

Status delete_partition(int fd, const std::string& device, const KernelPartition& p,
                        std::chrono::milliseconds limit) {
  const auto attempt = [&] {
    const int rc = change_partition(fd, BLKPG_DEL_PARTITION, p.number, p.range);
    return rc != 0 && errno == ENXIO ? 0 : rc;  // somebody else was faster
  };
  if (!retry_while_busy(limit, attempt))
    return fail_errno(ExitCode::DeviceIoctl, device + ": remove partition " + std::to_string(p.number));
  return {};
}

/// Opens the device for partition changes. The shared lock keeps udev from re-reading the table in between
/// (it takes an exclusive one and gives up); without it the work is still right, so a refusal does not
/// matter.
Result<Fd> open_for_change(const std::string& device) {
  Fd fd = TRY(open_file(device, O_RDONLY, 0, ExitCode::Device));
  ::flock(fd.get(), LOCK_SH | LOCK_NB);
  return fd;
}

}  // namespace

Result<std::optional<dev_t>> kernel_partition(const std::string& device, int number) {
  const Fd fd = TRY(open_file(device, O_RDONLY, 0, ExitCode::Device));
  return kernel_partition(TRY(number_of(fd.get(), device)), number);
}

Result<std::optional<dev_t>> kernel_partition(dev_t device, int number) {
  for (const KernelPartition& p : TRY(kernel_partitions(device)))
    if (p.number == number) return p.device;
  return std::nullopt;
}

Result<dev_t> set_kernel_partition(const std::string& device, const PartitionRange& range) {
  const Fd fd = TRY(open_for_change(device));
  std::optional<dev_t> present;
  for (const KernelPartition& p : TRY(kernel_partitions(fd.get(), device))) {
    if (p.number == 1 && p.range == range) {
      present = p.device;
    } else {
      TRY(delete_partition(fd.get(), device, p, kBusyLimit));
    }
  }
  if (present) return *present;
  const bool added =
      retry_while_busy(kBusyLimit, [&] { return change_partition(fd.get(), BLKPG_ADD_PARTITION, 1, range); });
  if (!added) return fail_errno(ExitCode::DeviceIoctl, device + ": add partition 1");
  for (const KernelPartition& p : TRY(kernel_partitions(fd.get(), device)))
    if (p.number == 1 && p.range == range) return p.device;
  return fail(ExitCode::Sysfs, device + ": partition 1 does not appear");
}

Status resize_kernel_partition(const std::string& device, const PartitionRange& range) {
  const Fd fd = TRY(open_for_change(device));
  const bool changed = retry_while_busy(
      kBusyLimit, [&] { return change_partition(fd.get(), BLKPG_RESIZE_PARTITION, 1, range); });
  if (!changed) return fail_errno(ExitCode::DeviceIoctl, device + ": resize partition 1");
  return {};
}

Status remove_kernel_partitions(const std::string& device, std::chrono::milliseconds limit) {
  const Fd fd = TRY(open_for_change(device));
  for (const KernelPartition& p : TRY(kernel_partitions(fd.get(), device)))
    TRY(delete_partition(fd.get(), device, p, limit));
  return {};
}

Result<std::optional<dev_t>> update_kernel_partitions(const std::string& device) {
  const std::optional<PartitionRange> range = TRY(read_partition(device));
  if (range) return TRY(set_kernel_partition(device, *range));
  TRY(remove_kernel_partitions(device));
  return std::nullopt;
}

Status make_node(const std::string& path, dev_t number) {
  TRY_CONTEXT("make node", remove_node(path).map_error([](Error e) {
    e.code = ExitCode::Mknod;
    return e;
  }));
  if (::mknod(path.c_str(), S_IFBLK | S_IRUSR | S_IWUSR, number) != 0)
    return fail_errno(ExitCode::Mknod, "make node " + path);
  return {};
}

Status remove_node(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(ExitCode::Unlink, "stat " + path);
  }
  if (!S_ISBLK(st.st_mode)) return fail(ExitCode::Unlink, path + " is not a block device node, it stays");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno(ExitCode::Unlink, "remove " + path);
  return {};
}

}  // namespace ploop::fs
