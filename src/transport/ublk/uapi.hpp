// The part of the kernel's ublk interface that a plain disk needs: structures and numbers of
// <linux/ublk_cmd.h>. Declared here because distribution headers are older than the kernels the program runs
// on. All fields are in host byte order; the kernel is the other end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ploop::transport::ublk {

inline constexpr const char* kControlPath = "/dev/ublk-control";

// Features (GET_FEATURES) are flags of a device as well (ADD_DEV).
inline constexpr std::uint64_t kFeatureUserRecovery = 1u << 3;
inline constexpr std::uint64_t kFeatureReissue =
    1u << 4;  ///< what was in flight at a server's death is sent again
inline constexpr std::uint64_t kFeatureIoctlEncode = 1u << 6;
inline constexpr std::uint64_t kFeatureUserCopy = 1u
                                                  << 7;  ///< data moves by pread/pwrite on the server's file
inline constexpr std::uint64_t kFeatureUpdateSize = 1u << 10;
inline constexpr std::uint64_t kFeatureAutoBuffer =
    1u << 11;  ///< a request's pages become a registered buffer of the server's ring
inline constexpr std::uint64_t kFeatureSafeStop =
    1u << 17;  ///< TRY_STOP_DEV: only when nobody has the disk open
inline constexpr std::uint64_t kFeatureNoAutoPartScan = 1u << 18;

namespace detail {
// Like _IOR and _IOWR, with 'u'.
constexpr std::uint32_t encode(std::uint32_t direction, std::uint32_t number, std::size_t size) {
  return direction << 30 | static_cast<std::uint32_t>(size) << 16 | std::uint32_t{'u'} << 8 | number;
}
inline constexpr std::uint32_t kRead = 2;
inline constexpr std::uint32_t kReadWrite = 3;
}  // namespace detail

/// The body of a command to /dev/ublk-control.
struct ControlBody {
  std::uint32_t device = 0;
  std::uint16_t queue = 0xffff;
  std::uint16_t length = 0;  ///< of what `address` points to
  std::uint64_t address = 0;
  std::uint64_t data = 0;  ///< pid, or size in sectors
  std::uint16_t path_length = 0;
  std::uint16_t pad = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(ControlBody) == 32);

inline constexpr std::uint32_t kGetDevInfo = detail::encode(detail::kRead, 0x02, sizeof(ControlBody));
inline constexpr std::uint32_t kAddDev = detail::encode(detail::kReadWrite, 0x04, sizeof(ControlBody));
inline constexpr std::uint32_t kDelDev = detail::encode(detail::kReadWrite, 0x05, sizeof(ControlBody));
inline constexpr std::uint32_t kStartDev = detail::encode(detail::kReadWrite, 0x06, sizeof(ControlBody));
inline constexpr std::uint32_t kStopDev = detail::encode(detail::kReadWrite, 0x07, sizeof(ControlBody));
inline constexpr std::uint32_t kSetParams = detail::encode(detail::kReadWrite, 0x08, sizeof(ControlBody));
inline constexpr std::uint32_t kStartUserRecovery =
    detail::encode(detail::kReadWrite, 0x10, sizeof(ControlBody));
inline constexpr std::uint32_t kEndUserRecovery =
    detail::encode(detail::kReadWrite, 0x11, sizeof(ControlBody));
inline constexpr std::uint32_t kGetFeatures = detail::encode(detail::kRead, 0x13, sizeof(ControlBody));
inline constexpr std::uint32_t kUpdateSize = detail::encode(detail::kReadWrite, 0x15, sizeof(ControlBody));
inline constexpr std::uint32_t kTryStopDev = detail::encode(detail::kReadWrite, 0x17, sizeof(ControlBody));

/// A device that the kernel numbers itself.
inline constexpr std::uint32_t kAnyDevice = 0xffffffffu;

enum class DeviceState : std::uint16_t { Dead = 0, Live = 1, Quiesced = 2, FailIo = 3 };

struct DeviceInfo {
  std::uint16_t queues = 0;
  std::uint16_t depth = 0;
  DeviceState state = DeviceState::Dead;
  std::uint16_t pad0 = 0;
  std::uint32_t max_io_bytes = 0;
  std::uint32_t id = kAnyDevice;
  std::int32_t server_pid = 0;
  std::uint32_t pad1 = 0;
  std::uint64_t flags = 0;
  std::uint64_t server_flags = 0;  ///< ours: the kernel keeps it and gives it back
  std::uint32_t owner_uid = 0;
  std::uint32_t owner_gid = 0;
  std::uint64_t reserved1 = 0;
  std::uint64_t reserved2 = 0;
};
static_assert(sizeof(DeviceInfo) == 64);

inline constexpr std::uint32_t kAttrReadOnly = 1u << 0;
inline constexpr std::uint32_t kAttrVolatileCache = 1u << 2;
inline constexpr std::uint32_t kAttrFua = 1u << 3;

inline constexpr std::uint32_t kParamBasic = 1u << 0;
inline constexpr std::uint32_t kParamDiscard = 1u << 1;
inline constexpr std::uint32_t kParamAlignment = 1u << 4;

/// The kernel's structure up to the group with the alignment; it takes a shorter one by its length.
struct Params {
  std::uint32_t length = 0;
  std::uint32_t types = 0;
  // Basic.
  std::uint32_t attributes = 0;
  std::uint8_t logical_shift = 9;
  std::uint8_t physical_shift = 12;
  std::uint8_t io_opt_shift = 12;
  std::uint8_t io_min_shift = 9;
  std::uint32_t max_sectors = 0;
  std::uint32_t chunk_sectors = 0;
  std::uint64_t sectors = 0;
  std::uint64_t virt_boundary_mask = 0;
  // Discard.
  std::uint32_t discard_alignment = 0;
  std::uint32_t discard_granularity = 0;
  std::uint32_t max_discard_sectors = 0;
  std::uint32_t max_write_zeroes_sectors = 0;
  std::uint16_t max_discard_segments = 0;
  std::uint16_t reserved0 = 0;
  // Numbers of the device, and zones: not ours to set.
  std::array<std::uint32_t, 12> unused{};
  // Alignment.
  std::uint32_t alignment_mask = 0;  ///< of the memory of requests
  std::uint32_t reserved1 = 0;
};
inline constexpr std::uint32_t kParamsLength = 60;          ///< without the alignment
inline constexpr std::uint32_t kAlignedParamsLength = 116;  ///< with it
static_assert(offsetof(Params, attributes) == 8 && offsetof(Params, sectors) == 24 &&
              offsetof(Params, discard_alignment) == 40);
static_assert(offsetof(Params, reserved0) + sizeof(Params::reserved0) == kParamsLength);
static_assert(offsetof(Params, reserved1) + sizeof(Params::reserved1) == kAlignedParamsLength);

/// The body of a command to /dev/ublkcN.
struct IoBody {
  std::uint16_t queue = 0;
  std::uint16_t tag = 0;
  std::int32_t result = 0;    ///< bytes or -errno
  std::uint64_t address = 0;  ///< of the tag's memory; 0 with user copy and zero copy
};
static_assert(sizeof(IoBody) == 16);

/// With kFeatureAutoBuffer the address field of a command's entry says which registered buffer of the ring
/// the pages of the next request become, until its commit. The flag: should that fail, the request comes all
/// the same, marked with kIoNoBuffer.
inline constexpr std::uint64_t kAutoBufferFallback = 1u << 16;
constexpr std::uint64_t auto_buffer(std::uint16_t index) {
  return kAutoBufferFallback | index;
}

inline constexpr std::uint32_t kFetch = detail::encode(detail::kReadWrite, 0x20, sizeof(IoBody));
inline constexpr std::uint32_t kCommitAndFetch = detail::encode(detail::kReadWrite, 0x21, sizeof(IoBody));

inline constexpr std::uint8_t kOpRead = 0;
inline constexpr std::uint8_t kOpWrite = 1;
inline constexpr std::uint8_t kOpFlush = 2;
inline constexpr std::uint8_t kOpDiscard = 3;
inline constexpr std::uint8_t kOpWriteZeroes = 5;

inline constexpr std::uint32_t kIoFua = 1u << 13;
inline constexpr std::uint32_t kIoNoUnmap = 1u << 15;
inline constexpr std::uint32_t kIoNoBuffer = 1u << 17;

/// One request; the kernel writes it into memory that it shares read-only.
struct IoDesc {
  std::uint32_t op_flags = 0;  ///< operation in the lowest 8 bits
  std::uint32_t sectors = 0;
  std::uint64_t start_sector = 0;
  std::uint64_t address = 0;
};
static_assert(sizeof(IoDesc) == 24);

/// Descriptors of a queue lie at this multiple of the queue's number in the server's file.
inline constexpr std::size_t kMaxDepth = 4096;
inline constexpr std::size_t kQueueStride = kMaxDepth * sizeof(IoDesc);
static_assert(kQueueStride % 4096 == 0);

/// Where the data of a request lies in the server's file, for user copy, and where zero copy is not possible.
inline constexpr std::uint64_t kDataOffset = 0x80000000u;
inline constexpr unsigned kTagShift = 25;
inline constexpr unsigned kQueueShift = 41;

constexpr std::uint64_t data_position(unsigned queue, unsigned tag) {
  return kDataOffset + (std::uint64_t{queue} << kQueueShift) + (std::uint64_t{tag} << kTagShift);
}

}  // namespace ploop::transport::ublk
