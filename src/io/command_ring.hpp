// Commands for a driver that takes them through io_uring only, with bodies of up to 80 bytes, one at a time:
// for setting things up, not for data. A command may wait in the kernel for as long as it likes; the caller
// says how long it is willing to.
#pragma once

#include <liburing.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"

namespace ploop::io {

class CommandRing {
 public:
  static constexpr std::size_t kMaxBody = 80;

  /// Used by the process that makes it; a child makes its own. ExitCode::System.
  static Result<std::unique_ptr<CommandRing>> create();
  ~CommandRing();
  CommandRing(const CommandRing&) = delete;
  CommandRing& operator=(const CommandRing&) = delete;

  /// Runs one command: what the driver returned, or -errno. -ETIMEDOUT: it was cancelled, or can't be (then
  /// it goes on without anybody waiting, so memory that it names must stay valid unless the driver is known
  /// not to touch it late).
  int run(int fd, std::uint32_t opcode, std::span<const std::byte> body, std::chrono::milliseconds patience);

 private:
  CommandRing() = default;
  int wait_for(std::uint64_t id, std::chrono::milliseconds patience);

  io_uring ring_{};
  bool initialised_ = false;
  std::uint64_t next_id_ = 1;
};

}  // namespace ploop::io
