#include "transport/ublk/message.hpp"

#include <cerrno>

#include "base/units.hpp"

namespace ploop::transport::ublk {
namespace {

using Op = engine::Request::Op;

Decoded refuse(int error) {
  Decoded d;
  d.error = error;
  return d;
}

}  // namespace

Decoded decode(const IoDesc& desc, const Limits& limits) {
  Decoded d;
  const auto op = static_cast<std::uint8_t>(desc.op_flags);
  if (op == kOpFlush) {  // the range of a flush means nothing
    d.request.op = Op::Flush;
    return d;
  }
  switch (op) {
    case kOpRead:
      d.request.op = Op::Read;
      break;
    case kOpWrite:
      d.request.op = Op::Write;
      break;
    case kOpDiscard:
      d.request.op = Op::WriteZeroes;
      d.request.unmap = true;
      break;
    case kOpWriteZeroes:
      d.request.op = Op::WriteZeroes;
      d.request.unmap = (desc.op_flags & kIoNoUnmap) == 0;
      break;
    default:
      return refuse(-EOPNOTSUPP);
  }
  if (op != kOpRead) {
    if (!limits.writable) return refuse(-EROFS);
    d.request.fua = (desc.op_flags & kIoFua) != 0;
  }
  const std::uint64_t device_sectors = limits.device_bytes / kSectorSize;
  if (desc.sectors == 0 || desc.start_sector > device_sectors ||
      desc.sectors > device_sectors - desc.start_sector) {
    return refuse(-EIO);
  }
  d.request.offset = desc.start_sector * kSectorSize;
  d.request.length = std::uint64_t{desc.sectors} * kSectorSize;
  d.buffered = (desc.op_flags & kIoNoBuffer) == 0;
  if (d.moves_data() && d.request.length > limits.max_transfer) return refuse(-EINVAL);
  return d;
}

}  // namespace ploop::transport::ublk
