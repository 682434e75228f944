// One ublk request understood. Pure: values in, values out. The kernel is trusted, yet everything is checked,
// because a wrong number must become an error and not a write somewhere else.
#pragma once

#include <cstdint>

#include "engine/request.hpp"
#include "transport/ublk/uapi.hpp"

namespace ploop::transport::ublk {

/// What bounds a request.
struct Limits {
  std::uint64_t device_bytes = 0;
  std::uint32_t max_transfer = 0;  ///< most bytes of one read or write
  bool writable = true;
};

struct Decoded {
  int error = 0;            ///< -errno: answer that and run nothing
  engine::Request request;  ///< `data` and `buffer` unset
  bool buffered = true;     ///< zero copy: its pages are where the tag's command wanted them
  [[nodiscard]] bool moves_data() const {
    return request.op == engine::Request::Op::Read || request.op == engine::Request::Op::Write;
  }
};

/// `desc` is a copy: the kernel's memory is read once.
Decoded decode(const IoDesc& desc, const Limits& limits);

}  // namespace ploop::transport::ublk
