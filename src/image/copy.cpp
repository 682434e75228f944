#include "image/copy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "image/sparse.hpp"

namespace ploop::image {
namespace {

/// Large enough that a disk is busy while the next piece is read, small enough for the processor's cache to
/// matter little.
constexpr std::uint64_t kPiece = 4 * kMiB;
/// Copied by the kernel at a time.
constexpr std::uint64_t kKernelPiece = 16 * kMiB;

}  // namespace

Copier::Copier(io::BlockFile& target, std::uint64_t unit) : target_(target), unit_(unit), buffer_(kPiece) {}

Status Copier::run(const CopyRun& run) {
  if (can_clone_ && clone(run)) return {};
  for (std::uint64_t done = 0; done < run.length; done += kKernelPiece) {
    const std::uint64_t length = std::min(kKernelPiece, run.length - done);
    if (TRY(copy_in_kernel(run, done, length))) continue;
    for (std::uint64_t piece = 0; piece < length; piece += kPiece)
      TRY(copy_piece(run, done + piece, std::min(kPiece, length - piece)));
  }
  return {};
}

/// False when it has to be copied through memory.
Result<bool> Copier::copy_in_kernel(const CopyRun& run, std::uint64_t done, std::uint64_t length) {
  const int error = target_.copy(*run.source, run.source_offset + done, run.offset + done, length);
  if (error == -EOPNOTSUPP) return false;
  if (error != 0) {
    return fail(errno_error(ExitCode::Write, -error,
                            fmt::format("copy data of {} to {}", run.source->name(), target_.name())));
  }
  totals_.copied_bytes += length;
  return true;
}

/// False when it has to be copied: for good where the file system can't, or once, for a range it won't take.
bool Copier::clone(const CopyRun& run) {
  const int error = target_.clone(*run.source, run.source_offset, run.offset, run.length);
  if (error == 0) {
    totals_.cloned_bytes += run.length;
    return true;
  }
  // EINVAL is about this range: the last, partial cluster of a raw image, for example.
  if (error != -EINVAL) can_clone_ = false;
  return false;
}

Status Copier::copy_piece(const CopyRun& run, std::uint64_t done, std::uint64_t length) {
  const auto piece = buffer_.span().first(length);
  const std::int64_t got = run.source->read(piece, run.source_offset + done);
  if (got < 0) {
    return fail(
        errno_error(ExitCode::Read, static_cast<int>(-got),
                    fmt::format("read data of {} at {}", run.source->name(), run.source_offset + done)));
  }
  std::fill(piece.begin() + got, piece.end(), std::byte{0});
  // Neighbours of one kind go together: one write for data, one punch for zeros.
  const std::uint64_t unit = std::min(unit_, kPiece);
  for (std::uint64_t from = 0; from < length;) {
    const auto zeros = [&](std::uint64_t at) {
      return all_zero(piece.subspan(at, std::min(unit, length - at)));
    };
    const bool hole = zeros(from);
    std::uint64_t to = from;
    do {
      to += std::min(unit, length - to);
    } while (to < length && zeros(to) == hole);
    const std::uint64_t offset = run.offset + done + from;
    if (hole) {
      TRY(zero(offset, to - from));
      totals_.zero_bytes += to - from;
    } else {
      TRY(io::write_exact(target_, piece.subspan(from, to - from), offset, "data"));
      totals_.copied_bytes += to - from;
    }
    from = to;
  }
  return {};
}

Status Copier::zero(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t size = TRY(io::file_size(target_));
  if (offset + length > size) {
    if (const int error = target_.truncate(offset + length); error < 0) {
      return fail(errno_error(ExitCode::Truncate, -error, fmt::format("extend {}", target_.name())));
    }
    if (offset >= size) return {};
    length = size - offset;
  }
  if (can_punch_) {
    const int error = target_.punch(offset, length);
    if (error == 0) return {};
    if (error != -EOPNOTSUPP) {
      return fail(
          errno_error(ExitCode::Write, -error, fmt::format("punch {} at {}", target_.name(), offset)));
    }
    can_punch_ = false;
  }
  const std::vector<std::byte> zeros(std::min(length, kMiB));
  for (std::uint64_t done = 0; done < length; done += zeros.size()) {
    const auto part = std::span(zeros).first(std::min<std::uint64_t>(zeros.size(), length - done));
    TRY(io::write_exact(target_, part, offset + done, "zeros"));
  }
  return {};
}

}  // namespace ploop::image
