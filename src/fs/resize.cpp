#include "fs/resize.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/endian.hpp"
#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "base/text.hpp"
#include "fs/block_device.hpp"
#include "fs/mount.hpp"

namespace ploop::fs {
namespace {

// From fs/ext4/ext4.h and fs/xfs/libxfs/xfs_fs.h, which are not installed for programs everywhere.
constexpr unsigned long kExt4ResizeFs = _IOW('f', 16, std::uint64_t);
struct XfsGrowData {
  std::uint64_t newblocks;
  std::uint32_t imaxpct;
};
struct XfsGeometryV1 {
  std::uint32_t blocksize;
  std::uint32_t rtextsize;
  std::uint32_t agblocks;
  std::uint32_t agcount;
  std::uint32_t logblocks;
  std::uint32_t sectsize;
  std::uint32_t inodesize;
  std::uint32_t imaxpct;
  std::uint64_t datablocks;
  std::uint64_t rest[9];
};
static_assert(sizeof(XfsGeometryV1) == 112);
constexpr unsigned long kXfsGeometry = _IOR('X', 100, XfsGeometryV1);
constexpr unsigned long kXfsGrowData = _IOW('X', 110, XfsGrowData);

template <typename T>
T field(const std::array<std::byte, 4096>& sb, std::size_t at) {
  T value;
  std::memcpy(&value, sb.data() + at, sizeof value);
  return value;
}

std::uint64_t big_endian(const std::array<std::byte, 4096>& sb, std::size_t at, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i)
    value = (value << 8) | std::to_integer<std::uint64_t>(sb[at + i]);
  return value;
}

Status read_ext(const std::array<std::byte, 4096>& sb, FileSystemFacts& facts, const std::string& device) {
  constexpr std::size_t kSuper = 1024;
  constexpr std::uint32_t k64Bit = 0x80;
  const std::uint32_t shift = field<le32>(sb, kSuper + 24);
  if (shift > 6)
    return fail(ExitCode::Read, device + ": impossible block size in the file system's superblock");
  facts.block_size = 1024U << shift;
  facts.blocks = field<le32>(sb, kSuper + 4);
  if ((field<le32>(sb, kSuper + 96) & k64Bit) != 0)
    facts.blocks |= std::uint64_t{field<le32>(sb, kSuper + 0x150)} << 32;
  facts.inodes = field<le32>(sb, kSuper);
  return {};
}

void log_output(const std::string& output) {
  std::size_t at = 0;
  while (at < output.size()) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    if (end > at) log_line(LogLevel::Command, output.substr(at, end - at));
    at = end + 1;
  }
}

Status grow_ext(int directory, std::uint64_t blocks, const std::string& device) {
  std::uint64_t wanted = blocks;
  if (::ioctl(directory, kExt4ResizeFs, &wanted) == 0) return {};
  if (errno == EPERM) {
    return fail_errno(ExitCode::ResizeFs,
                      "grow the mounted file system on " + device + " (the kernel wants CAP_SYS_RESOURCE)");
  }
  return fail_errno(ExitCode::ResizeFs, "grow the file system on " + device);
}

Status grow_xfs(int directory, std::uint64_t bytes, const std::string& device) {
  XfsGeometryV1 geometry{};
  if (::ioctl(directory, kXfsGeometry, &geometry) != 0)
    return fail_errno(ExitCode::ResizeFs, "geometry of the xfs on " + device);
  const XfsGrowData wanted{bytes / geometry.blocksize, geometry.imaxpct};
  if (wanted.newblocks <= geometry.datablocks) return {};
  if (::ioctl(directory, kXfsGrowData, &wanted) == 0) return {};
  // A piece at the end that is too small for an allocation group is not an error: the file system keeps its
  // size.
  if (errno == EINVAL && wanted.newblocks - geometry.datablocks < 64) return {};
  return fail_errno(ExitCode::ResizeFs, "grow the file system on " + device);
}

}  // namespace

Result<FileSystemFacts> read_facts(const std::string& device) {
  FileSystemFacts facts;
  facts.type = TRY(detect_filesystem(device));
  const Fd fd = TRY(open_file(device, O_RDONLY, 0, ExitCode::Read));
  std::array<std::byte, 4096> sb{};
  if (::pread(fd.get(), sb.data(), sb.size(), 0) != static_cast<ssize_t>(sb.size())) {
    return fail_errno(ExitCode::Read, "read the superblock on " + device);
  }
  if (facts.is_ext()) {
    TRY(read_ext(sb, facts, device));
  } else if (facts.type == "xfs") {
    facts.block_size = static_cast<std::uint32_t>(big_endian(sb, 4, 4));
    facts.blocks = big_endian(sb, 8, 8);
  } else {
    const std::string what = facts.type.empty() ? "no file system" : "a file system of type " + facts.type;
    return fail(ExitCode::Param, device + " holds " + what + ": only ext3, ext4 and xfs can be resized");
  }
  if (facts.block_size == 0)
    return fail(ExitCode::Read, device + ": impossible block size in the file system's superblock");
  return facts;
}

Status may_grow_mounted(const FileSystemFacts& facts) {
  if (!facts.is_ext()) return {};
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  const bool may =
      ::syscall(SYS_capget, &header, data) == 0 && (data[0].effective >> CAP_SYS_RESOURCE & 1) != 0;
  if (may) return {};
  return fail(errno_error(
      ExitCode::ResizeFs, EPERM,
      "A mounted " + facts.type +
          " can only be grown by somebody with CAP_SYS_RESOURCE; resize the disk while it is not attached"));
}

Status grow_mounted(const std::string& directory, const std::string& device) {
  const Fd fd = TRY(open_file(directory, O_RDONLY | O_DIRECTORY, 0, ExitCode::ResizeFs));
  const FileSystemFacts facts = TRY(read_facts(device));
  const std::uint64_t bytes = TRY(inspect_block_device(device)).size.value;
  if (facts.type == "xfs") return grow_xfs(fd.get(), bytes, device);
  const std::uint64_t blocks = bytes / facts.block_size;
  if (blocks <= facts.blocks) return {};
  return grow_ext(fd.get(), blocks, device);
}

Result<Bytes> minimum_ext_size(const std::string& device) {
  const FileSystemFacts facts = TRY(read_facts(device));
  const std::string output = TRY(run_checked({"resize2fs", "-P", device}, ExitCode::ResizeFs));
  const std::size_t colon = output.rfind(": ");
  std::uint64_t blocks = 0;
  if (colon != std::string::npos) {
    const std::string_view digits = trim(std::string_view(output).substr(colon + 2));
    std::from_chars(digits.data(), digits.data() + digits.size(), blocks);
  }
  if (blocks == 0) return fail(ExitCode::ResizeFs, "resize2fs does not tell the minimum size of " + device);
  return Bytes{blocks * facts.block_size};
}

Status resize_unmounted_ext(const std::string& device, Bytes size) {
  // In KiB, as the original passed it: that holds for every block size.
  const std::string kib = std::to_string(round_down(size.value, 4096) / kKiB) + "k";
  log_output(TRY(run_checked({"resize2fs", device, kib}, ExitCode::ResizeFs)));
  return {};
}

Status set_reserved_blocks(const std::string& device, Bytes size) {
  const FileSystemFacts facts = TRY(read_facts(device));
  const std::uint64_t blocks = size.value / facts.block_size / 20;
  log_output(TRY(run_checked({"tune2fs", "-r", std::to_string(blocks), device}, ExitCode::ResizeFs)));
  return {};
}

}  // namespace ploop::fs
