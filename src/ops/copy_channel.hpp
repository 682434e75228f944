// A pipe or socket that somebody else opened for `copy`: whole reads and writes which a signal to this
// command interrupts, without changing the mode of a descriptor that is shared with other processes.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::ops {

enum class DescriptorKind { File, Pipe, Socket, Other };
/// What the descriptor is; Other also when it is not open.
DescriptorKind descriptor_kind(int fd);

class CopyChannel {
 public:
  enum class Direction { Read, Write };

  /// `role` names it in messages: "Invalid ROLE fd N: must be a pipe or a socket", ExitCode::Param. The
  /// descriptor stays the caller's and must outlive this.
  static Result<CopyChannel> open(int fd, Direction direction, const std::string& role);

  /// Some bytes, at least one; 0 at the end. ExitCode::Read; System when cancelled.
  Result<std::size_t> read_some(std::span<std::byte> data);
  /// Bytes until the span is full or the end has come; gives their number.
  Result<std::size_t> read_full(std::span<std::byte> data);
  /// All of it; the vector is used up. ExitCode::Write, also when the other side is gone; System when
  /// cancelled.
  Status write(std::span<iovec> pieces);
  Status write(std::span<const std::byte> data);

 private:
  CopyChannel(int fd, Fd own, bool socket, std::string role);
  Status wait(short events);
  /// As writev(2), without waiting where that is possible.
  ssize_t put(std::span<iovec> pieces);

  int fd_ = -1;  ///< what is used: `own_` where there is one
  Fd own_;       ///< for writing to a pipe: a description of our own, non-blocking
  bool socket_ = false;
  std::string role_;
};

}  // namespace ploop::ops
