// One FUSE request understood, and the answers that are not data. Pure: bytes in, values out. The kernel is
// trusted, yet every length is checked, because the same code reads fuzzed input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/request.hpp"
#include "transport/fuse/uapi.hpp"

namespace ploop::transport::fuse {

/// What to do with a message.
enum class Action : std::uint8_t {
  Engine,  ///< run `request`, then answer with its result
  Init,
  GetAttr,  ///< also SETATTR without a size, or with the one it has
  Open,
  StatFs,
  Ok,      ///< answer without data
  Silent,  ///< no answer
  Refuse,  ///< answer `error`
};

struct Decoded {
  Action action = Action::Refuse;
  std::uint64_t unique = 0;  ///< exactly as received
  int error = 0;             ///< -errno, Refuse only
  engine::Request
      request;  ///< Engine only; `data` of a write is at kWritePrefix of the message, of a read unset
  bool empty_read = false;  ///< Engine read at or behind the end: answer no bytes without running it
};

/// What bounds a request.
struct Limits {
  std::uint64_t device_bytes = 0;
  std::uint32_t max_transfer = 0;  ///< most bytes of one read or write
  bool writable = true;
};

/// Understands one message as read from /dev/fuse.
Decoded decode(std::span<const std::byte> message, const Limits& limits);

/// Result of the first message.
struct Negotiated {
  bool accepted = false;  ///< false: the kernel's version does not fit; answer `out` and wait for another
                          ///< INIT, or give up
  bool give_up = false;   ///< too old
  bool can_resend = false;
  InitOut out{};
};

struct InitOptions {
  std::uint32_t max_write = 0;       ///< bytes, a multiple of 4096
  std::uint16_t max_background = 0;  ///< requests in flight
};

/// Answers INIT (`message` is the whole message).
Negotiated negotiate(std::span<const std::byte> message, const InitOptions& options);

/// The one file's attributes.
AttrOut attributes(std::uint64_t size_bytes, bool writable);
/// `granularity` becomes the discard granularity of a loop device over the file.
StatFsOut file_system_facts(std::uint64_t size_bytes, std::uint32_t granularity);

}  // namespace ploop::transport::fuse
