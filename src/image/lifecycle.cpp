// In-use mark and clean close. The header goes out alone, as 64 bytes: a page image could carry table slots
// that are not durable yet.
#include "image/lifecycle.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ploop::image {

Status write_header(io::BlockFile& file, const format::Header& header) {
  const auto bytes = format::encode_header(header);
  return io::write_exact(file, bytes, 0, "header");
}

Status mark_in_use(io::BlockFile& file, format::Header& header) {
  format::Header marked = header;
  marked.in_use = format::kInUseMark;
  marked.extension_sectors = 0;
  TRY(write_header(file, marked));
  TRY(io::sync_file(file));
  header = marked;
  return {};
}

Status mark_in_use_again(io::BlockFile& file, format::Header& header) {
  if (!header.is_in_use() || header.extension_sectors != 0) return mark_in_use(file, header);
  return io::sync_file(file);
}

Status close_image(io::BlockFile& file, format::Header& header, std::uint64_t used_clusters) {
  TRY(io::sync_file(file));
  const std::uint64_t kept = std::max<std::uint64_t>(used_clusters, header.header_clusters());
  const std::uint64_t wanted = kept * header.cluster_bytes();
  const std::uint64_t length = TRY(io::file_size(file));
  // Never longer: a file that ends early is damage, which a check has to see.
  if (length > wanted) {
    if (const int error = file.truncate(wanted); error < 0) {
      return fail(errno_error(ExitCode::Truncate, -error, fmt::format("truncate {}", file.name())));
    }
    // The mark is cleared after everything else is durable, the new length included.
    TRY(io::sync_file(file));
  }
  format::Header closed = header;
  closed.in_use = format::kClosedMark;
  closed.extension_sectors = 0;
  if (kept > header.header_clusters()) closed.flags &= ~format::kFlagEmpty;
  TRY(write_header(file, closed));
  TRY(io::sync_file(file));
  header = closed;
  return {};
}

}  // namespace ploop::image
