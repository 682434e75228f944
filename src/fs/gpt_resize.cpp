// Rewriting a partition table for another disk size. Done on the bytes, because the order of the writes
// matters: the second copy first, so that there is a valid one at every moment.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/endian.hpp"
#include "base/fd.hpp"
#include "fs/gpt.hpp"

namespace ploop::fs {
namespace {

constexpr std::uint64_t kEntries = 128;
constexpr std::uint64_t kEntryBytes = 128;
constexpr std::uint64_t kTableSectors = kEntries * kEntryBytes / kSectorSize;

struct RawGptHeader {
  std::array<char, 8> signature;
  le32 revision;
  le32 header_bytes;
  le32 header_crc;
  le32 reserved;
  le64 my_lba;
  le64 other_lba;
  le64 first_usable;
  le64 last_usable;
  std::array<std::byte, 16> disk_guid;
  le64 entries_lba;
  le32 entry_count;
  le32 entry_bytes;
  le32 entries_crc;
};
static_assert(sizeof(RawGptHeader) == 92);

struct RawGptEntry {
  std::array<std::byte, 16> type;
  std::array<std::byte, 16> guid;
  le64 first_lba;
  le64 last_lba;
  le64 attributes;
  std::array<std::byte, 72> name;
};
static_assert(sizeof(RawGptEntry) == kEntryBytes);

using Sector = std::array<std::byte, kSectorSize>;
using Entries = std::array<std::byte, kEntries * kEntryBytes>;

std::uint32_t crc32(std::span<const std::byte> data) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::byte b : data) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int i = 0; i < 8; ++i)
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

std::uint32_t header_crc(RawGptHeader header) {
  header.header_crc = 0;
  return crc32(std::as_bytes(std::span(&header, 1)));
}

/// One copy of the table.
struct Table {
  RawGptHeader header{};
  Entries entries{};

  [[nodiscard]] RawGptEntry entry(std::size_t i) const {
    RawGptEntry e;
    std::memcpy(&e, entries.data() + i * kEntryBytes, sizeof e);
    return e;
  }
  void set_entry(std::size_t i, const RawGptEntry& e) {
    std::memcpy(entries.data() + i * kEntryBytes, &e, sizeof e);
  }
};

class TableFile {
 public:
  TableFile(Fd fd, std::string device) : fd_(std::move(fd)), device_(std::move(device)) {}

  Result<Sectors> size() {
    struct stat st {};
    if (::fstat(fd_.get(), &st) != 0) return error("stat");
    if (!S_ISBLK(st.st_mode)) return Sectors{static_cast<std::uint64_t>(st.st_size) / kSectorSize};
    std::uint64_t bytes = 0;
    int sector = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0 || ::ioctl(fd_.get(), BLKSSZGET, &sector) != 0)
      return error("size");
    if (sector != static_cast<int>(kSectorSize)) {
      return fail(ExitCode::ChangeGpt,
                  device_ + ": sectors of " + std::to_string(sector) + " bytes are not supported");
    }
    return Sectors{bytes / kSectorSize};
  }
  Status read(std::span<std::byte> data, std::uint64_t lba) {
    const ssize_t n = ::pread(fd_.get(), data.data(), data.size(), static_cast<off_t>(lba * kSectorSize));
    if (n < 0) return error("read");
    if (static_cast<std::size_t>(n) != data.size())
      return fail(ExitCode::ChangeGpt, device_ + ": partition table is cut off");
    return {};
  }
  Status write(std::span<const std::byte> data, std::uint64_t lba) {
    const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(lba * kSectorSize));
    if (n < 0 || static_cast<std::size_t>(n) != data.size()) return error("write");
    return {};
  }
  Status sync() {
    if (::fsync(fd_.get()) != 0) return error("sync");
    return {};
  }
  [[nodiscard]] tl::unexpected<Error> error(const char* what) const {
    return fail_errno(ExitCode::ChangeGpt, device_ + ": partition table: " + what);
  }
  [[nodiscard]] tl::unexpected<Error> refuse(const std::string& why) const {
    return fail(ExitCode::ChangeGpt, device_ + ": partition table: " + why);
  }

 private:
  Fd fd_;
  std::string device_;
};

/// The copy whose header is in this sector. Nothing when it is not valid in every respect.
Result<std::optional<Table>> read_copy(TableFile& file, std::uint64_t lba, Sectors device) {
  Sector sector;
  TRY(file.read(sector, lba));
  Table t;
  std::memcpy(&t.header, sector.data(), sizeof t.header);
  const RawGptHeader& h = t.header;
  const bool sound = std::string_view(h.signature.data(), h.signature.size()) == "EFI PART" &&
                     h.header_bytes == sizeof h && h.header_crc == header_crc(h) && h.my_lba == lba &&
                     h.entry_count == kEntries && h.entry_bytes == kEntryBytes &&
                     h.entries_lba <= device.value - kTableSectors;
  if (!sound) return std::optional<Table>();
  TRY(file.read(t.entries, h.entries_lba));
  if (crc32(t.entries) != h.entries_crc) return std::optional<Table>();
  return std::optional<Table>(t);
}

/// The first copy, or the second one (at the end of the device) when a power cut left the first one half
/// written.
Result<Table> read_table(TableFile& file, Sectors device) {
  if (device.value < 3 + 2 * kTableSectors) return file.refuse("the device is too small");
  if (auto first = TRY(read_copy(file, 1, device))) return *first;
  if (auto second = TRY(read_copy(file, device.value - 1, device))) return *second;
  return file.refuse("both copies are damaged");
}

Status write_copy(TableFile& file, Table t, std::uint64_t my_lba, std::uint64_t other_lba,
                  std::uint64_t entries_lba) {
  t.header.my_lba = my_lba;
  t.header.other_lba = other_lba;
  t.header.entries_lba = entries_lba;
  t.header.entries_crc = crc32(t.entries);
  t.header.header_crc = header_crc(t.header);
  Sector sector{};
  std::memcpy(sector.data(), &t.header, sizeof t.header);
  TRY(file.write(t.entries, entries_lba));
  TRY(file.write(sector, my_lba));
  return file.sync();
}

/// One entry of type 0xEE over the whole disk; the boot code area stays.
Status write_protective_mbr(TableFile& file, Sectors size) {
  Sector sector;
  TRY(file.read(sector, 0));
  constexpr std::array<unsigned char, 8> kEntry = {0x00, 0x00, 0x02, 0x00, 0xEE, 0xFE, 0xFF, 0xFF};
  std::memset(sector.data() + 446, 0, 64);
  std::memcpy(sector.data() + 446, kEntry.data(), kEntry.size());
  const le32 first = 1;
  const le32 count = static_cast<std::uint32_t>(std::min<std::uint64_t>(size.value - 1, 0xFFFFFFFF));
  std::memcpy(sector.data() + 446 + 8, &first, 4);
  std::memcpy(sector.data() + 446 + 12, &count, 4);
  sector[510] = std::byte{0x55};
  sector[511] = std::byte{0xAA};
  return file.write(sector, 0);
}

/// Both copies are there and say this already.
Result<bool> is_right(TableFile& file, const Table& wanted, Sectors size, Sectors device) {
  const auto first = TRY(read_copy(file, 1, device));
  if (!first || first->entries != wanted.entries || first->header.other_lba != size.value - 1) return false;
  const auto second = TRY(read_copy(file, size.value - 1, device));
  return second && second->entries == wanted.entries && second->header.other_lba == 1;
}

}  // namespace

Result<PartitionRange> plan_resized_partition(Sectors start, Sectors size, std::uint32_t cluster_sectors) {
  const PartitionRange planned = TRY(plan_partition(size, cluster_sectors));
  const std::uint64_t end = planned.start.value + planned.length.value;
  if (end <= start.value) {
    return fail(ExitCode::Param,
                "Nothing of the partition is left in " + std::to_string(size.value) + " sectors");
  }
  return PartitionRange{start, Sectors{end - start.value}};
}

Result<PartitionRange> resize_gpt(const std::string& device, Sectors size, std::uint32_t cluster_sectors) {
  TableFile file(TRY(open_file(device, O_RDWR, 0, ExitCode::ChangeGpt)), device);
  const Sectors have = TRY(file.size());
  if (size.value > have.value) return file.refuse("the device is smaller than the size asked for");
  Table table = TRY(read_table(file, have));
  RawGptEntry first = table.entry(0);
  const std::array<std::byte, 16> unused{};
  if (first.type == unused) return file.refuse("there is no partition 1");
  for (std::size_t i = 1; i < kEntries; ++i) {
    if (table.entry(i).type != unused)
      return file.refuse("a disk with more than one partition can't be resized");
  }
  const PartitionRange range = TRY(plan_resized_partition(Sectors{first.first_lba}, size, cluster_sectors));
  first.last_lba = range.start.value + range.length.value - 1;
  table.set_entry(0, first);
  table.header.last_usable = size.value - kTableSectors - 2;
  if (TRY(is_right(file, table, size, have))) return range;
  TRY(write_copy(file, table, size.value - 1, 1, size.value - 1 - kTableSectors));
  TRY(write_copy(file, table, 1, size.value - 1, 2));
  TRY(write_protective_mbr(file, size));
  TRY(file.sync());
  return range;
}

}  // namespace ploop::fs
