// Where a copy goes: a new file, a file that somebody opened, or a stream to a receiver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"

namespace ploop::ops {

/// Some bytes of the image file and where they belong.
struct CopyPiece {
  std::uint64_t position = 0;
  std::span<const std::byte> data;
};

/// One thread at a time.
class CopySink {
 public:
  virtual ~CopySink() = default;
  /// In order; later pieces win. ExitCode::Write.
  virtual Status put(std::span<const CopyPiece> pieces) = 0;
  /// What was put is durable at the other end when this returns, as far as one can know. ExitCode::Write,
  /// Protocol or Fsync (the receiver answers nonsense, or that it failed), System when cancelled.
  virtual Status sync() = 0;
  /// The copy is complete and right; without this call there is none. ExitCode::Write, Create. Called once.
  virtual Status finish() = 0;
};

struct CopySinkOptions {
  std::string file;   ///< not empty: a new file of this name
  int output = 1;     ///< else this descriptor: a regular file, a pipe or a socket
  int feedback = -1;  ///< pipe or socket with the receiver's answers; -1 for none
};

/// ExitCode::Param for descriptors of the wrong kind, Create when the file exists or can't be made.
Result<std::unique_ptr<CopySink>> open_copy_sink(const CopySinkOptions& options);

}  // namespace ploop::ops
