// The one door to image files. Offline tools, the engine and the simulator all go through this interface, so
// that a real file, an in-memory file that records every write and barrier, and a file that fails on purpose
// are interchangeable.
//
// Results are bytes or -errno, as io_uring gives them; text is made by the caller, who knows what it was
// doing.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"

namespace ploop::io {

/// The host has no room, or not for this user.
constexpr bool is_no_space(std::int64_t result) {
  return result == -ENOSPC || result == -EDQUOT;
}

/// One open image file. Not thread-safe; one owner at a time.
class BlockFile {
 public:
  virtual ~BlockFile() = default;

  /// Reads into the whole span; fewer bytes only at the end of the file.
  virtual std::int64_t read(std::span<std::byte> data, std::uint64_t offset) = 0;
  /// Writes the whole span or fails.
  virtual std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) = 0;
  /// Barrier: data written before, and the size and extents needed to read it back, are durable (fdatasync).
  virtual int sync() = 0;
  /// Sets the length; new space reads as zeros.
  virtual int truncate(std::uint64_t size) = 0;
  /// Reserves space for the range and extends the file when it ends behind it; new space reads as zeros.
  virtual int allocate(std::uint64_t offset, std::uint64_t length) = 0;
  /// Frees the space of the range, which then reads as zeros; the length stays.
  virtual int punch(std::uint64_t offset, std::uint64_t length) = 0;
  /// Shares `length` bytes of `source` at `source_offset` (reflink). -EOPNOTSUPP, -EXDEV or -EINVAL where the
  /// file system can't.
  virtual int clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                    std::uint64_t length) = 0;
  /// Copies `length` bytes of `source` without bringing them here, and has them on their way to the disk.
  /// -EOPNOTSUPP where that is not possible or would fill holes of the source; nothing was done then. A
  /// shorter result than `length` does not happen.
  virtual int copy(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                   std::uint64_t length) {
    static_cast<void>(source);
    static_cast<void>(source_offset);
    static_cast<void>(offset);
    static_cast<void>(length);
    return -EOPNOTSUPP;
  }
  /// Current length in bytes, or -errno.
  virtual std::int64_t size() = 0;
  /// Name for messages.
  [[nodiscard]] virtual const std::string& name() const = 0;

  /// The kernel's descriptor for a ring, or -1 when there is none (simulation).
  [[nodiscard]] virtual int native_handle() const { return -1; }
  /// True when a read or write never waits for a device (tmpfs), so that doing it in place beats a hand-over.
  [[nodiscard]] virtual bool immediate() const { return false; }
};

/// `read`, but a short result is an error and the text says what was being read. ExitCode::Read.
Status read_exact(BlockFile& file, std::span<std::byte> data, std::uint64_t offset, const char* what);
/// ExitCode::Write.
Status write_exact(BlockFile& file, std::span<const std::byte> data, std::uint64_t offset, const char* what);
/// ExitCode::Fsync.
Status sync_file(BlockFile& file);
/// ExitCode::Stat.
Result<std::uint64_t> file_size(BlockFile& file);

}  // namespace ploop::io
