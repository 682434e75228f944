#include "image/sparse.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/units.hpp"

namespace ploop::image {
namespace {

constexpr std::uint64_t kPiece = kMiB;

struct Hole {
  std::uint64_t start = 0;
  std::uint64_t end = 0;  ///< equal to start: no further hole
};

/// The first hole at or behind `from`. Files without a descriptor, and file systems that cannot tell, have
/// none.
Result<Hole> next_hole(io::BlockFile& file, std::uint64_t from, std::uint64_t length) {
  const Hole none{length, length};
  const int fd = file.native_handle();
  if (fd < 0 || from >= length) return none;
  const off_t start = ::lseek(fd, static_cast<off_t>(from), SEEK_HOLE);
  if (start < 0 && (errno == ENXIO || errno == EINVAL)) return none;
  if (start < 0) return fail_errno(ExitCode::Read, fmt::format("seek in {}", file.name()));
  if (static_cast<std::uint64_t>(start) >= length) return none;
  const off_t end = ::lseek(fd, start, SEEK_DATA);
  if (end < 0 && errno != ENXIO) return fail_errno(ExitCode::Read, fmt::format("seek in {}", file.name()));
  const std::uint64_t stop = end < 0 ? length : std::min(static_cast<std::uint64_t>(end), length);
  return Hole{static_cast<std::uint64_t>(start), stop};
}

Status write_zeros(io::BlockFile& file, const Hole& hole, std::uint64_t length,
                   std::span<const std::byte> zeros, const ProgressCallback& progress) {
  for (std::uint64_t offset = hole.start; offset < hole.end; offset += zeros.size()) {
    const auto part = zeros.first(std::min<std::uint64_t>(zeros.size(), hole.end - offset));
    TRY(io::write_exact(file, part, offset, "hole"));
    report_progress(progress, offset + part.size(), length);
  }
  return {};
}

}  // namespace

Result<std::uint64_t> count_sparse_clusters(io::BlockFile& file, std::span<const std::uint32_t> clusters,
                                            std::uint64_t cluster_bytes) {
  const std::uint64_t length = TRY(io::file_size(file));
  std::uint64_t count = 0;
  Hole hole;
  for (const std::uint32_t cluster : clusters) {
    const std::uint64_t begin = cluster * cluster_bytes;
    if (hole.end <= begin) hole = TRY(next_hole(file, begin, length));
    if (hole.start == hole.end) break;
    if (hole.start < begin + cluster_bytes) ++count;
  }
  return count;
}

bool all_zero(std::span<const std::byte> bytes) {
  // Compares the bytes with themselves, shifted by one.
  return bytes.empty() || (bytes.front() == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

Result<bool> reads_as_zeros(io::BlockFile& file, std::uint64_t offset, std::span<std::byte> buffer,
                            bool holes_only) {
  if (const int fd = file.native_handle(); fd >= 0) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return true;
    if (data >= 0 && static_cast<std::uint64_t>(data) >= offset + buffer.size()) return true;
  }
  if (holes_only) return false;
  const std::int64_t got = file.read(buffer, offset);
  if (got < 0)
    return fail(errno_error(ExitCode::Read, static_cast<int>(-got), fmt::format("read {}", file.name())));
  return all_zero(buffer.first(static_cast<std::size_t>(got)));
}

Status fill_holes(io::BlockFile& file, const std::function<void(std::uint64_t, std::uint64_t)>& filled,
                  const ProgressCallback& progress) {
  const std::uint64_t length = TRY(io::file_size(file));
  const std::vector<std::byte> zeros(kPiece);
  bool any = false;
  std::uint64_t from = 0;
  for (;;) {
    const Hole hole = TRY(next_hole(file, from, length));
    if (hole.start == hole.end) break;
    filled(hole.start, hole.end - hole.start);
    TRY(write_zeros(file, hole, length, zeros, progress));
    from = hole.end;
    any = true;
  }
  if (any) TRY(io::sync_file(file));
  return {};
}

}  // namespace ploop::image
