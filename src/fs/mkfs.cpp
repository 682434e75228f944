#include "fs/mkfs.hpp"

#include <algorithm>
#include <bit>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "fs/block_device.hpp"

namespace ploop::fs {
namespace {

/// The journal of the original: the same size for every disk. Below the limit it would take more than half of
/// the file system, which mke2fs refuses; there mke2fs chooses one that fits.
constexpr std::uint64_t kJournalMiB = 128;
constexpr std::uint64_t kFixedJournalLimit = 272 * kMiB;
/// The file system can grow online up to this size: room for its group descriptors is reserved from the
/// start.
constexpr std::uint64_t kGrowLimit = 16 * kTiB;
constexpr std::uint64_t kInodeRatio = 16384;
/// Below this mke2fs makes no journal at all (it needs 1024 blocks of it), which would leave something that
/// is no ext3.
constexpr std::uint64_t kJournalMinBlocks = 2048;
/// Limit of xfsprogs.
constexpr std::uint64_t kXfsMinimum = 300 * kMiB;

void log_output(const std::string& output) {
  std::size_t at = 0;
  while (at < output.size()) {
    const std::size_t end = std::min(output.find('\n', at), output.size());
    if (end > at) log_line(LogLevel::Command, output.substr(at, end - at));
    at = end + 1;
  }
}

std::vector<std::string> ext_command(const std::string& partition, Bytes size, const MkfsOptions& options) {
  const std::uint64_t block = options.block_size;
  std::vector<std::string> argv = {"mke2fs", "-t", std::string(fs_type_name(options.type)), "-j"};
  argv.push_back("-b" + std::to_string(block));
  std::string extended = options.lazy ? "lazy_itable_init=1" : "lazy_itable_init=0";
  const std::uint64_t grow_blocks = std::min<std::uint64_t>(kGrowLimit / block, UINT32_MAX);
  if (size.value / block < grow_blocks) extended += ",resize=" + std::to_string(grow_blocks);
  argv.push_back("-E" + extended);
  if (size.value >= kFixedJournalLimit) argv.push_back("-Jsize=" + std::to_string(kJournalMiB));
  argv.push_back("-i" + std::to_string(kInodeRatio));
  if (!options.label.empty()) argv.push_back("-L" + options.label);
  argv.push_back(partition);
  return argv;
}

std::vector<std::string> xfs_command(const std::string& partition, const MkfsOptions& options) {
  std::vector<std::string> argv = {"mkfs.xfs", "-b", "size=" + std::to_string(options.block_size)};
  if (!options.label.empty()) argv.insert(argv.end(), {"-L", options.label});
  argv.push_back(partition);
  return argv;
}

/// Refuses what the programs would refuse with a page of usage text.
Status check_size(Bytes size, const MkfsOptions& options) {
  const std::uint32_t smallest = options.type == FsType::Xfs ? 512 : 1024;
  // mke2fs would round an odd number without a word.
  if (!std::has_single_bit(options.block_size) || options.block_size < smallest || options.block_size > 65536)
    return fail(ExitCode::Mkfs, "file system block size " + std::to_string(options.block_size) +
                                    " is not a power of two from " + std::to_string(smallest) + " to 65536");
  if (options.type == FsType::Xfs && size.value < kXfsMinimum)
    return fail(ExitCode::Mkfs, "xfs needs a partition of at least " + std::to_string(kXfsMinimum / kMiB) +
                                    " MiB, this has " + std::to_string(size.value / kMiB));
  if (options.type == FsType::Ext3 && size.value / options.block_size < kJournalMinBlocks)
    return fail(ExitCode::Mkfs, "ext3 needs a partition of at least " +
                                    std::to_string(kJournalMinBlocks * options.block_size / kKiB) +
                                    " KiB for its journal");
  return {};
}

}  // namespace

std::optional<FsType> parse_fs_type(std::string_view name) {
  for (const FsType type : {FsType::None, FsType::Ext3, FsType::Ext4, FsType::Xfs})
    if (name == fs_type_name(type)) return type;
  return std::nullopt;
}

std::string_view fs_type_name(FsType type) {
  switch (type) {
    case FsType::None:
      return "none";
    case FsType::Ext3:
      return "ext3";
    case FsType::Ext4:
      return "ext4";
    case FsType::Xfs:
      return "xfs";
  }
  return "";
}

std::vector<std::string> mkfs_command(const std::string& partition, Bytes size, const MkfsOptions& options) {
  if (options.type == FsType::None) return {};
  if (options.type == FsType::Xfs) return xfs_command(partition, options);
  return ext_command(partition, size, options);
}

Status make_filesystem(const std::string& partition, const MkfsOptions& options) {
  if (options.type == FsType::None) return {};
  const BlockDevice device = TRY(inspect_block_device(partition));
  TRY(check_size(device.size, options));
  log_output(TRY(run_checked(mkfs_command(partition, device.size, options), ExitCode::Mkfs)));
  if (options.type == FsType::Xfs) return {};
  log_output(TRY(
      run_checked({"tune2fs", "-ouser_xattr,acl", "-c0", "-i0", "-eremount-ro", partition}, ExitCode::Mkfs)));
  return {};
}

Status check_ext_filesystem(const std::string& partition, bool force) {
  std::vector<std::string> argv = {"e2fsck", "-p"};
  if (force) argv.push_back("-f");
  argv.push_back(partition);
  auto ran = run_program(argv);
  if (!ran) {
    Error error = std::move(ran).error();
    error.code = ExitCode::Fsck;
    return fail(std::move(error));
  }
  log_output(ran->output);
  // 1 and 2: errors were found and corrected. From 4 on something is left.
  if (ran->status >= 4)
    return fail(ExitCode::Fsck, "e2fsck found errors on " + partition +
                                    " that it does not correct by itself (status " +
                                    std::to_string(ran->status) + ")");
  return {};
}

}  // namespace ploop::fs
