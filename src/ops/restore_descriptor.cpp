#include "ops/restore_descriptor.hpp"

#include <sys/stat.h>

#include <cerrno>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/store.hpp"
#include "io/posix_file.hpp"
#include "ops/prepare.hpp"

namespace ploop::ops {
namespace {

constexpr std::uint32_t kLargestGuess = 2048;  ///< sectors: 1 MiB

/// Size, cluster size and geometry as the descriptor wants them.
using Facts = format::Header;

Result<Facts> ploop1_facts(const std::string& image) {
  auto header = read_header(image);
  if (!header) return fail(Error{ExitCode::Open, header.error().sys_errno, header.error().what});
  return *header;
}

Result<std::uint32_t> raw_cluster(std::uint64_t sectors, const RestoreOptions& options) {
  if (options.cluster_sectors) {
    if (sectors % *options.cluster_sectors == 0) return *options.cluster_sectors;
    return fail(ExitCode::Param, "Image size must be aligned to the blocksize specified");
  }
  for (std::uint32_t cluster = kLargestGuess; cluster >= format::kMinClusterSectors; cluster /= 2) {
    if (sectors % cluster == 0) return cluster;
  }
  return fail(ExitCode::Param, "Image size must be a multiple of 32 KiB: " + options.image);
}

Result<Facts> raw_facts(const std::string& image, const RestoreOptions& options) {
  // Its header would become the disk's first sectors, and the first write would destroy the table.
  if (read_header(image))
    return fail(ExitCode::Param, options.image + " is a ploop1 image, not a raw one: leave out -f raw");
  const auto file = TRY(io::PosixFile::open(image, {}));
  const std::uint64_t bytes = TRY(io::file_size(*file));
  if (bytes == 0 || bytes % kSectorSize != 0) {
    return fail(ExitCode::Param, "Image size must be a multiple of 32 KiB: " + options.image);
  }
  const std::uint32_t cluster = TRY(raw_cluster(bytes / kSectorSize, options));
  return format::make_header(bytes / kSectorSize, cluster, format::Version::V2);
}

}  // namespace

Status restore_descriptor(const RestoreOptions& options) {
  const std::string directory = TRY(canonical_path(options.directory, ExitCode::Descriptor));
  const std::string path = (directory == "/" ? "" : directory) + "/" + std::string(descriptor::kFileName);
  const descriptor::DescriptorLock lock = TRY(descriptor::DescriptorLock::acquire(path));
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0)
    return fail(errno_error(ExitCode::Param, EEXIST, "Can't create " + path));
  const std::string image = TRY(canonical_path(options.image, ExitCode::Open));
  const Facts facts = options.raw ? TRY(raw_facts(image, options)) : TRY(ploop1_facts(image));
  descriptor::NewDisk p;
  p.directory = directory;
  p.image = image;
  p.size_sectors = facts.size_sectors;
  p.cluster_sectors = facts.cluster_sectors;
  p.cylinders = facts.cylinders;
  p.heads = facts.heads;
  p.mode = options.raw ? descriptor::Mode::Raw : descriptor::Mode::Expanded;
  descriptor::Disk disk = descriptor::new_disk(p);
  log(LogLevel::Detail, "Adding snapshot {}", kTopUuid);
  TRY(descriptor::store(disk, path));
  if (!image.starts_with(directory == "/" ? directory : directory + "/")) {
    log_error("Warning: {} lies outside of {}: mount it with --allow-external={}", image, directory, image);
  }
  return {};
}

}  // namespace ploop::ops
