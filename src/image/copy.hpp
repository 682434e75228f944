// Moving runs of bytes between image files: shared (reflink) where the file system can, else copied, and
// zeros given no space.
#pragma once

#include <cstdint>

#include "base/aligned_buffer.hpp"
#include "base/result.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

struct CopyTotals {
  std::uint64_t cloned_bytes = 0;
  std::uint64_t copied_bytes = 0;
  std::uint64_t zero_bytes = 0;  ///< found to be zeros, and not written
};

/// One piece of work: `length` bytes from `source_offset` of `source`. Whole units at the target.
struct CopyRun {
  io::BlockFile* source = nullptr;
  std::uint64_t source_offset = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// Copies into one file. Nothing is durable before the caller's barrier.
class Copier {
 public:
  /// `unit` is the cluster size in bytes: what is found to be all zeros is punched in units of it.
  Copier(io::BlockFile& target, std::uint64_t unit);

  /// Where the source ends early, zeros. ExitCode::Read, Write.
  Status run(const CopyRun& run);

  /// False once the file system has refused to share.
  [[nodiscard]] bool can_clone() const { return can_clone_; }
  [[nodiscard]] const CopyTotals& totals() const { return totals_; }

  /// The range becomes zeros, without space where that is possible. It may lie behind the end of the file,
  /// which grows. ExitCode::Write.
  Status zero(std::uint64_t offset, std::uint64_t length);

 private:
  bool clone(const CopyRun& run);
  Result<bool> copy_in_kernel(const CopyRun& run, std::uint64_t done, std::uint64_t length);
  Status copy_piece(const CopyRun& run, std::uint64_t done, std::uint64_t length);

  io::BlockFile& target_;
  std::uint64_t unit_;
  bool can_clone_ = true;
  bool can_punch_ = true;
  AlignedBuffer buffer_;
  CopyTotals totals_;
};

}  // namespace ploop::image
