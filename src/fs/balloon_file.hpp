// The balloon at work: the file takes blocks from the file system, so that what lies under them in the image
// can be given back. The blocks are allocated and never written; that is how everybody knows that their
// content is worth nothing.
#pragma once

#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::fs {

/// A piece of the file system's device, in bytes.
struct DeviceExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool operator==(const DeviceExtent&) const = default;
};

class BalloonFile {
 public:
  /// Opens it for us alone, in the root of the mounted file system, and makes it when there is none. Somebody
  /// else works with it: ExitCode::Busy. Open, Create.
  static Result<BalloonFile> open(const std::string& mount_point);

  [[nodiscard]] Result<Bytes> size() const;
  /// What it would have: whole blocks of the file system.
  [[nodiscard]] Result<Bytes> rounded(Bytes size) const;
  /// Grows or shrinks it, durable. Growing allocates; where that fails it is as large as before:
  /// ExitCode::Fallocate.
  Status resize(Bytes size);
  /// Its blocks behind `from` that were never written, as far as the file system says so beyond doubt, in the
  /// order of the file, neighbours joined. ExitCode::Read.
  [[nodiscard]] Result<std::vector<DeviceExtent>> unwritten(Bytes from = {}) const;

 private:
  BalloonFile(Fd file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}
  Status inflate(Bytes old_size, Bytes size);
  Fd file_;
  std::string name_;
};

/// The whole clusters inside extents of a partition, as ranges of the disk. `partition_start` in bytes.
std::vector<DeviceExtent> whole_clusters(const std::vector<DeviceExtent>& extents,
                                         std::uint64_t partition_start, std::uint64_t cluster_bytes);

/// FITRIM: free space in pieces of at least `minimum` bytes is discarded, over the whole file system. Gives
/// the bytes that the file system handed down. ExitCode::DeviceIoctl, with EOPNOTSUPP where it can't.
Result<Bytes> trim_free_space(const std::string& mount_point, Bytes minimum);

}  // namespace ploop::fs
