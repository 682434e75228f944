#include "fs/gpt.hpp"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <libfdisk/libfdisk.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/fd.hpp"

namespace ploop::fs {
namespace {

constexpr std::string_view kSignature = "EFI PART";
constexpr const char* kLinuxFilesystem = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
constexpr const char* kPartitionName = "primary";
/// Protective MBR, header and 128 entries: the first sector that a partition may use, and how many sectors
/// the copy at the end takes.
constexpr std::uint64_t kFirstUsable = 34;
constexpr std::uint64_t kBackupSectors = 33;

struct ContextFree {
  void operator()(fdisk_context* c) const {
    fdisk_set_script(c, nullptr);  // a context and the script applied to it own each other
    fdisk_unref_context(c);
  }
};
struct ScriptFree {
  void operator()(fdisk_script* s) const { fdisk_unref_script(s); }
};
struct PartitionFree {
  void operator()(fdisk_partition* p) const { fdisk_unref_partition(p); }
};
struct TypeFree {
  void operator()(fdisk_parttype* t) const { fdisk_unref_parttype(t); }
};
struct ProbeFree {
  void operator()(blkid_probe p) const { blkid_free_probe(p); }
};
using Context = std::unique_ptr<fdisk_context, ContextFree>;
using Script = std::unique_ptr<fdisk_script, ScriptFree>;
using Probe = std::unique_ptr<std::remove_pointer_t<blkid_probe>, ProbeFree>;

tl::unexpected<Error> table_error(int rc, const std::string& device, const char* step) {
  return fail(errno_error(ExitCode::ChangeGpt, -rc, device + ": partition table: " + step));
}

/// Makes the empty table. A script fixes the first usable sector, which libfdisk would otherwise move up to
/// its own alignment, behind the place of our partition when clusters are small.
Status make_label(fdisk_context* context, const std::string& device) {
  Script script(fdisk_new_script(context));
  if (!script) return fail(ExitCode::Malloc, device + ": partition table");
  int rc = fdisk_script_set_header(script.get(), "label", "gpt");
  if (rc == 0) rc = fdisk_script_set_header(script.get(), "first-lba", std::to_string(kFirstUsable).c_str());
  if (rc == 0) rc = fdisk_apply_script_headers(context, script.get());
  if (rc != 0) return table_error(rc, device, "create");
  return {};
}

Status add_partition(fdisk_context* context, const std::string& device, const PartitionRange& range) {
  std::unique_ptr<fdisk_partition, PartitionFree> partition(fdisk_new_partition());
  std::unique_ptr<fdisk_parttype, TypeFree> type(
      fdisk_label_parse_parttype(fdisk_get_label(context, "gpt"), kLinuxFilesystem));
  if (!partition || !type) return fail(ExitCode::Malloc, device + ": partition table");
  // Without this libfdisk moves start and end to its own grain of 1 MiB.
  fdisk_disable_dialogs(context, 1);
  int rc = fdisk_partition_set_partno(partition.get(), 0);
  if (rc == 0) rc = fdisk_partition_set_start(partition.get(), range.start.value);
  if (rc == 0) rc = fdisk_partition_set_size(partition.get(), range.length.value);
  if (rc == 0) rc = fdisk_partition_size_explicit(partition.get(), 1);
  if (rc == 0) rc = fdisk_partition_set_type(partition.get(), type.get());
  if (rc == 0) rc = fdisk_partition_set_name(partition.get(), kPartitionName);
  if (rc == 0) rc = fdisk_add_partition(context, partition.get(), nullptr);
  if (rc != 0) return table_error(rc, device, "add partition 1");
  return {};
}

/// Whether a table is announced at the second sector of `sector_size` bytes.
Result<bool> has_signature(int fd, std::uint32_t sector_size, const std::string& device) {
  std::array<char, kSignature.size()> text{};
  ssize_t n = ::pread(fd, text.data(), text.size(), static_cast<off_t>(sector_size));
  if (n < 0) return fail_errno(ExitCode::Read, "read " + device);
  return static_cast<std::size_t>(n) == text.size() &&
         std::string_view(text.data(), text.size()) == kSignature;
}

Result<std::uint32_t> logical_sector_size(int fd, const std::string& device) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno(ExitCode::Device, "stat " + device);
  if (!S_ISBLK(st.st_mode)) return kSectorSize;
  int size = 0;
  if (::ioctl(fd, BLKSSZGET, &size) != 0 || size <= 0)
    return fail_errno(ExitCode::Device, "sector size of " + device);
  return static_cast<std::uint32_t>(size);
}

/// Partition 1 as libblkid reads it, or nothing when it finds no valid table.
std::optional<PartitionRange> probe_first_partition(blkid_probe probe) {
  blkid_probe_enable_superblocks(probe, 0);
  blkid_probe_enable_partitions(probe, 1);
  // A damaged protective MBR does not make the real table worthless.
  blkid_probe_set_partitions_flags(probe, BLKID_PARTS_FORCE_GPT);
  blkid_partlist list = blkid_probe_get_partitions(probe);
  if (list == nullptr) return std::nullopt;
  blkid_parttable table = blkid_partlist_get_table(list);
  const char* type = table == nullptr ? nullptr : blkid_parttable_get_type(table);
  if (type == nullptr || std::strcmp(type, "gpt") != 0) return std::nullopt;
  blkid_partition partition = blkid_partlist_get_partition_by_partno(list, 1);
  if (partition == nullptr) return std::nullopt;
  const blkid_loff_t start = blkid_partition_get_start(partition);
  const blkid_loff_t length = blkid_partition_get_size(partition);
  if (start <= 0 || length <= 0) return std::nullopt;
  return PartitionRange{Sectors{static_cast<std::uint64_t>(start)},
                        Sectors{static_cast<std::uint64_t>(length)}};
}

}  // namespace

Result<PartitionRange> plan_partition(Sectors size, std::uint32_t cluster_sectors) {
  const std::uint64_t cluster = cluster_sectors;
  if (cluster < kFirstUsable)
    return fail(ExitCode::Param,
                "Cluster of " + std::to_string(cluster) + " sectors is too small for a partition table");
  if (size.value <= 2 * cluster)
    return fail(ExitCode::Param, "Image size should be greater than " + std::to_string(2 * cluster));
  static_assert(kBackupSectors < kFirstUsable, "the last cluster has room for the second copy of the table");
  const std::uint64_t end = round_down(size.value - cluster, cluster);
  return PartitionRange{Sectors{cluster}, Sectors{end - cluster}};
}

Status create_gpt(const std::string& device, std::uint32_t cluster_sectors) {
  // Opened here: what the library opens it leaves open when writing fails, and a device that is open can't be
  // detached.
  const Fd file = TRY(open_file(device, O_RDWR, 0, ExitCode::ChangeGpt));
  Context context(fdisk_new_context());
  if (!context) return fail(ExitCode::Malloc, device + ": partition table");
  int rc = fdisk_assign_device_by_fd(context.get(), file.get(), device.c_str(), 0);
  if (rc != 0) return table_error(rc, device, "open");
  const auto sector_size = static_cast<std::uint32_t>(fdisk_get_sector_size(context.get()));
  if (sector_size != kSectorSize)
    return fail(ExitCode::ChangeGpt,
                device + ": sectors of " + std::to_string(sector_size) + " bytes are not supported");
  const PartitionRange range =
      TRY(plan_partition(Sectors{fdisk_get_nsectors(context.get())}, cluster_sectors));
  TRY(make_label(context.get(), device));
  TRY(add_partition(context.get(), device, range));
  rc = fdisk_write_disklabel(context.get());
  if (rc != 0) return table_error(rc, device, "write");
  // The table has to be durable before the file system is made inside. The library would sync all of the
  // system's disks for that, and so wait for one that does not answer.
  if (::fsync(file.get()) != 0) return table_error(-errno, device, "sync");
  return {};
}

Result<std::optional<PartitionRange>> read_partition(const std::string& device) {
  const Fd fd = TRY(open_file(device, O_RDONLY, 0, ExitCode::Device));
  const std::uint32_t sector_size = TRY(logical_sector_size(fd.get(), device));
  if (!TRY(has_signature(fd.get(), sector_size, device))) return std::nullopt;
  Probe probe(blkid_new_probe());
  if (!probe) return fail(ExitCode::Malloc, "probe " + device);
  if (blkid_probe_set_device(probe.get(), fd.get(), 0, 0) != 0)
    return fail_errno(ExitCode::Read, "probe " + device);
  std::optional<PartitionRange> range = probe_first_partition(probe.get());
  if (!range) return fail(ExitCode::Param, device + ": the partition table is damaged or has no partition 1");
  return range;
}

}  // namespace ploop::fs
