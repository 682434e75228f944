// Decoding of FUSE requests. Unknown operations get ENOSYS, which the kernel remembers and does not ask
// again.
#include "transport/fuse/message.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/units.hpp"

namespace ploop::transport::fuse {
namespace {

constexpr std::uint32_t kHostPage = 4096;

/// The fixed part that follows the header; nothing when the message is too short.
template <typename T>
std::optional<T> body(std::span<const std::byte> message) {
  if (message.size() < sizeof(InHeader) + sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, message.data() + sizeof(InHeader), sizeof value);
  return value;
}

void refuse(Decoded& d, int error) {
  d.action = Action::Refuse;
  d.error = error;
}

bool whole_sectors(std::uint64_t offset, std::uint64_t length) {
  return ((offset | length) % kSectorSize) == 0;
}

bool inside(std::uint64_t offset, std::uint64_t length, const Limits& limits) {
  return offset <= limits.device_bytes && length <= limits.device_bytes - offset;
}

void decode_read(Decoded& d, std::span<const std::byte> message, const Limits& limits) {
  const auto in = body<ReadIn>(message);
  if (!in || in->size > limits.max_transfer || !whole_sectors(in->offset, in->size))
    return refuse(d, -EINVAL);
  d.action = Action::Engine;
  d.request.op = engine::Request::Op::Read;
  d.request.offset = in->offset;
  // A read over the end is cut; that is how a file ends.
  const std::uint64_t left = in->offset < limits.device_bytes ? limits.device_bytes - in->offset : 0;
  d.request.length = std::min<std::uint64_t>(in->size, left);
  d.empty_read = d.request.length == 0;
}

void decode_write(Decoded& d, std::span<const std::byte> message, const Limits& limits) {
  const auto in = body<WriteIn>(message);
  if (!in || in->size > limits.max_transfer || message.size() - kWritePrefix != in->size ||
      !whole_sectors(in->offset, in->size)) {
    return refuse(d, -EINVAL);
  }
  if (!limits.writable) return refuse(d, -EROFS);
  if (in->size == 0 || !inside(in->offset, in->size, limits)) return refuse(d, -EIO);
  d.action = Action::Engine;
  d.request.op = engine::Request::Op::Write;
  d.request.offset = in->offset;
  d.request.length = in->size;
}

void decode_fallocate(Decoded& d, std::span<const std::byte> message, const Limits& limits) {
  const auto in = body<FallocateIn>(message);
  if (!in || !whole_sectors(in->offset, in->length)) return refuse(d, -EINVAL);
  // The loop device sends discard (and "zero, may unmap") as punch and "zero, keep the space" as zero range.
  const bool punch = in->mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  const bool zero = in->mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
  if (!punch && !zero) return refuse(d, -EOPNOTSUPP);
  if (!limits.writable) return refuse(d, -EROFS);
  if (!inside(in->offset, in->length, limits)) return refuse(d, -EIO);
  if (in->length == 0) {
    d.action = Action::Ok;
    return;
  }
  d.action = Action::Engine;
  d.request.op = engine::Request::Op::WriteZeroes;
  d.request.unmap = punch;
  d.request.offset = in->offset;
  d.request.length = in->length;
}

void decode_set_attributes(Decoded& d, std::span<const std::byte> message, const Limits& limits) {
  const auto in = body<SetAttrIn>(message);
  if (!in) return refuse(d, -EINVAL);
  // The size of the file is the size of the disk: it does not change through the file. To set the one it has
  // is how the kernel is told.
  if ((in->valid & kSetAttrSize) != 0 && in->size != limits.device_bytes) return refuse(d, -EPERM);
  d.action = Action::GetAttr;
}

}  // namespace

Decoded decode(std::span<const std::byte> message, const Limits& limits) {
  Decoded d;
  d.action = Action::Silent;
  if (message.size() < sizeof(InHeader)) return d;
  InHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  d.unique = header.unique;
  if (header.len != message.size()) {
    refuse(d, -EIO);
    return d;
  }
  switch (static_cast<Opcode>(header.opcode)) {
    case Opcode::Read:
      decode_read(d, message, limits);
      break;
    case Opcode::Write:
      decode_write(d, message, limits);
      break;
    case Opcode::Fallocate:
      decode_fallocate(d, message, limits);
      break;
    case Opcode::Fsync:
      d.action = Action::Engine;
      d.request.op = engine::Request::Op::Flush;
      break;
    case Opcode::SetAttr:
      decode_set_attributes(d, message, limits);
      break;
    case Opcode::Init:
      d.action = Action::Init;
      break;
    case Opcode::GetAttr:
      d.action = Action::GetAttr;
      break;
    case Opcode::Open:
      d.action = Action::Open;
      break;
    case Opcode::StatFs:
      d.action = Action::StatFs;
      break;
    case Opcode::Release:
    case Opcode::Flush:  // close(2) of somebody's descriptor; not a barrier
    case Opcode::Destroy:
      d.action = Action::Ok;
      break;
    case Opcode::Forget:
    case Opcode::BatchForget:
    case Opcode::Interrupt:
      d.action = Action::Silent;
      break;
    default:
      refuse(d, -ENOSYS);
  }
  return d;
}

Negotiated negotiate(std::span<const std::byte> message, const InitOptions& options) {
  Negotiated n;
  InitIn in{};
  if (message.size() < sizeof(InHeader) + kInitInOldSize) {
    n.give_up = true;
    return n;
  }
  std::memcpy(&in, message.data() + sizeof(InHeader), std::min(sizeof in, message.size() - sizeof(InHeader)));
  n.out.major = kMajor;
  n.out.minor = kMinor;
  if (in.major > kMajor) return n;  // the kernel falls back to our major and asks again
  std::uint64_t offered = in.flags;
  if ((offered & kInitExt) != 0) offered |= std::uint64_t{in.flags2} << 32;
  constexpr std::uint64_t kNeeded = kInitAsyncDio | kInitMaxPages;
  if (in.major < kMajor || in.minor < kOldestMinor || (offered & kNeeded) != kNeeded) {
    n.give_up = true;
    return n;
  }
  n.accepted = true;
  n.can_resend = (offered & kInitHasResend) != 0;
  const std::uint64_t wanted =
      offered & (kInitAsyncRead | kInitBigWrites | kInitAsyncDio | kInitMaxPages | kInitHasResend | kInitExt);
  n.out.minor = std::min(in.minor, kMinor);
  n.out.max_readahead = in.max_readahead;
  n.out.flags = static_cast<std::uint32_t>(wanted);
  n.out.flags2 = static_cast<std::uint32_t>(wanted >> 32);
  n.out.max_background = options.max_background;
  n.out.congestion_threshold = options.max_background;
  n.out.max_write = options.max_write;
  n.out.max_pages = static_cast<std::uint16_t>(options.max_write / kHostPage);
  n.out.time_gran = 1;
  return n;
}

AttrOut attributes(std::uint64_t size_bytes, bool writable) {
  AttrOut out{};  // never cached: the size may change under the loop device
  out.attr.ino = kRootNode;
  out.attr.size = size_bytes;
  out.attr.blocks = size_bytes / kSectorSize;
  out.attr.mode = S_IFREG | (writable ? 0600u : 0400u);
  out.attr.nlink = 1;
  out.attr.blksize = kHostPage;
  return out;
}

StatFsOut file_system_facts(std::uint64_t size_bytes, std::uint32_t granularity) {
  StatFsOut out{};
  out.blocks = size_bytes / granularity;
  out.bsize = granularity;
  out.frsize = granularity;
  out.files = 1;
  out.namelen = 255;
  return out;
}

}  // namespace ploop::transport::fuse
