#include "ops/new_delta.hpp"

#include "base/log.hpp"
#include "descriptor/image_path.hpp"
#include "image/create.hpp"
#include "io/posix_file.hpp"
#include "ops/cancel.hpp"
#include "ops/prepare.hpp"

namespace ploop::ops {

Result<format::Header> shape_above(const descriptor::Disk& disk, const std::string& uuid) {
  const std::string& file = disk.find_image(uuid)->file;
  const std::string path = TRY(descriptor::image_path(disk.directory, file));
  log(LogLevel::Detail, "Opening delta {}", file);
  if (disk.base_is_raw() && same_uuid(disk.find_shot(uuid)->parent, kNoUuid)) {
    const auto raw = TRY(io::PosixFile::open(path, {}));
    const std::uint64_t sectors = TRY(io::file_size(*raw)) / kSectorSize;
    return format::make_header(round_up(sectors, disk.cluster_sectors), disk.cluster_sectors,
                               format::Version::V2);
  }
  auto header = read_header(path);
  if (!header) return fail(Error{ExitCode::Open, header.error().sys_errno, header.error().what});
  return header;
}

Result<format::Header> create_delta(const std::string& file, const format::Header& shape) {
  log(LogLevel::Progress, "Creating delta {} bs={} size={} sectors v{}", file, shape.cluster_sectors,
      shape.size_sectors, static_cast<int>(shape.version));
  image::CreateOptions options;
  options.version = shape.version;
  options.size_sectors = shape.size_sectors;
  options.cluster_sectors = shape.cluster_sectors;
  options.cancelled = cancel_requested;
  return TRY(image::create_image(file, options)).header;
}

}  // namespace ploop::ops
