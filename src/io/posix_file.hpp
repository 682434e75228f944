// A real file. Synchronous calls go through the page cache, so that headers and tables can be read with any
// alignment; the ring gets an O_DIRECT descriptor where the file system takes 512-byte aligned direct I/O, so
// that a device does not keep every block twice in memory.
#pragma once

#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "io/block_file.hpp"

namespace ploop::io {

struct PosixOpenOptions {
  bool writable = false;
  bool direct = false;            ///< also open an O_DIRECT descriptor for the ring, where that works
  bool exclusive_create = false;  ///< the file must not exist; mode 0600
  bool follow = true;             ///< the last part of the path may be a symbolic link
};

/// One regular file, open once or twice.
struct PosixDescriptors {
  Fd cached;
  Fd direct;  ///< with O_DIRECT; invalid where that is not wanted or does not work at sector granularity
};

/// Refuses everything that is not a regular file. ExitCode::Open, or ExitCode::Create for a new file.
Result<PosixDescriptors> open_descriptors(const std::string& path, const PosixOpenOptions& options);
/// Opens the file of a descriptor anew, one of O_PATH, too, whatever its name is by now; `name` is for
/// messages. The result has its own locks.
Result<PosixDescriptors> reopen_descriptors(const Fd& file, const std::string& name,
                                            const PosixOpenOptions& options);

enum class LockKind { Shared, Exclusive };

class PosixFile final : public BlockFile {
 public:
  /// Refuses everything that is not a regular file. ExitCode::Open, or ExitCode::Create for a new file.
  static Result<std::unique_ptr<PosixFile>> open(const std::string& path, const PosixOpenOptions& options);
  /// The same for one that somebody else has opened, who keeps no copy; `name` is for messages. No path is
  /// used, so that it also works where none may be. ExitCode::Open when these are not descriptors of one
  /// regular file.
  static Result<std::unique_ptr<PosixFile>> adopt(std::string name, PosixDescriptors descriptors);

  /// Open-file-description lock on the whole file, without waiting; held until the last descriptor and the
  /// last operation in flight are gone. False: somebody else holds it. ExitCode::Lock for any other failure.
  Result<bool> try_lock(LockKind kind);
  /// The same, but gives who holds it two seconds to end: the last operations of a killed process keep its
  /// lock a moment longer than it lives.
  Result<bool> lock_soon(LockKind kind);
  /// Gives the lock up. ExitCode::Lock.
  Status unlock();

  /// Whether both are descriptors of one file, whatever its names are.
  [[nodiscard]] bool same_file(const PosixFile& other) const {
    return device_ == other.device_ && inode_ == other.inode_;
  }

  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override;
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override;
  int sync() override;
  int truncate(std::uint64_t size) override;
  int allocate(std::uint64_t offset, std::uint64_t length) override;
  int punch(std::uint64_t offset, std::uint64_t length) override;
  int clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override;
  int copy(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
           std::uint64_t length) override;
  std::int64_t size() override;
  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] int native_handle() const override { return direct_ ? direct_.get() : fd_.get(); }
  [[nodiscard]] bool immediate() const override { return immediate_; }

 private:
  PosixFile() = default;
  std::string name_;
  Fd fd_;
  Fd direct_;
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
  bool immediate_ = false;
};

}  // namespace ploop::io
