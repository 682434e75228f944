// The part of the kernel's FUSE interface that one regular file needs: message layouts and numbers of
// <linux/fuse.h>, up to version 7.40. Declared here because distribution headers are older than the kernels
// the program runs on. All fields are in host byte order; the kernel is the other end.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ploop::transport::fuse {

inline constexpr std::uint32_t kMajor = 7;
inline constexpr std::uint32_t kMinor = 40;        ///< newest version whose messages are understood
inline constexpr std::uint32_t kOldestMinor = 28;  ///< max_pages (Linux 4.20)

enum class Opcode : std::uint32_t {
  Forget = 2,
  GetAttr = 3,
  SetAttr = 4,
  Open = 14,
  Read = 15,
  Write = 16,
  StatFs = 17,
  Release = 18,
  Fsync = 20,
  Flush = 25,
  Init = 26,
  Interrupt = 36,
  Destroy = 38,
  BatchForget = 42,
  Fallocate = 43,
};

// Flags of INIT. Those from bit 32 on travel in `flags2`.
inline constexpr std::uint64_t kInitAsyncRead = 1u << 0;
inline constexpr std::uint64_t kInitBigWrites = 1u << 5;
inline constexpr std::uint64_t kInitAsyncDio = 1u << 15;
inline constexpr std::uint64_t kInitParallelDirops = 1u << 18;
inline constexpr std::uint64_t kInitMaxPages = 1u << 22;
inline constexpr std::uint64_t kInitExt = 1u << 30;
inline constexpr std::uint64_t kInitHasResend = std::uint64_t{1} << 39;

inline constexpr std::uint32_t kOpenDirectIo = 1u << 0;
inline constexpr std::uint32_t kOpenParallelDirectWrites = 1u << 6;

inline constexpr std::uint32_t kSetAttrSize = 1u << 3;

/// Set in `unique` of a request that is delivered again; the answer carries it too.
inline constexpr std::uint64_t kUniqueResend = std::uint64_t{1} << 63;
inline constexpr std::int32_t kNotifyResend = 7;

inline constexpr std::uint64_t kRootNode = 1;
/// The kernel refuses to read into less.
inline constexpr std::size_t kMinReadBuffer = 8192;

struct InHeader {
  std::uint32_t len;
  std::uint32_t opcode;
  std::uint64_t unique;
  std::uint64_t nodeid;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint32_t pid;
  std::uint16_t total_extlen;
  std::uint16_t padding;
};
static_assert(sizeof(InHeader) == 40);

struct OutHeader {
  std::uint32_t len;
  std::int32_t error;
  std::uint64_t unique;
};
static_assert(sizeof(OutHeader) == 16);

struct InitIn {
  std::uint32_t major;
  std::uint32_t minor;
  std::uint32_t max_readahead;
  std::uint32_t flags;
  std::uint32_t flags2;  ///< and what follows: from 7.36 on
  std::uint32_t unused[11];
};
static_assert(sizeof(InitIn) == 64);
inline constexpr std::size_t kInitInOldSize = 16;

struct InitOut {
  std::uint32_t major;
  std::uint32_t minor;
  std::uint32_t max_readahead;
  std::uint32_t flags;
  std::uint16_t max_background;
  std::uint16_t congestion_threshold;
  std::uint32_t max_write;
  std::uint32_t time_gran;
  std::uint16_t max_pages;
  std::uint16_t map_alignment;
  std::uint32_t flags2;
  std::uint32_t unused[7];
};
static_assert(sizeof(InitOut) == 64);

struct Attr {
  std::uint64_t ino;
  std::uint64_t size;
  std::uint64_t blocks;
  std::uint64_t atime;
  std::uint64_t mtime;
  std::uint64_t ctime;
  std::uint32_t atimensec;
  std::uint32_t mtimensec;
  std::uint32_t ctimensec;
  std::uint32_t mode;
  std::uint32_t nlink;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint32_t rdev;
  std::uint32_t blksize;
  std::uint32_t flags;
};
static_assert(sizeof(Attr) == 88);

struct AttrOut {
  std::uint64_t attr_valid;
  std::uint32_t attr_valid_nsec;
  std::uint32_t dummy;
  Attr attr;
};
static_assert(sizeof(AttrOut) == 104);

/// The first fields; which attributes the caller wants to set is all that matters here.
struct SetAttrIn {
  std::uint32_t valid;
  std::uint32_t padding;
  std::uint64_t fh;
  std::uint64_t size;
};

struct OpenOut {
  std::uint64_t fh;
  std::uint32_t open_flags;
  std::int32_t backing_id;
};
static_assert(sizeof(OpenOut) == 16);

struct ReadIn {
  std::uint64_t fh;
  std::uint64_t offset;
  std::uint32_t size;
  std::uint32_t read_flags;
  std::uint64_t lock_owner;
  std::uint32_t flags;
  std::uint32_t padding;
};
static_assert(sizeof(ReadIn) == 40);

/// Followed by the data.
struct WriteIn {
  std::uint64_t fh;
  std::uint64_t offset;
  std::uint32_t size;
  std::uint32_t write_flags;
  std::uint64_t lock_owner;
  std::uint32_t flags;
  std::uint32_t padding;
};
static_assert(sizeof(WriteIn) == 40);

struct WriteOut {
  std::uint32_t size;
  std::uint32_t padding;
};
static_assert(sizeof(WriteOut) == 8);

struct FallocateIn {
  std::uint64_t fh;
  std::uint64_t offset;
  std::uint64_t length;
  std::uint32_t mode;
  std::uint32_t padding;
};
static_assert(sizeof(FallocateIn) == 32);

struct StatFsOut {
  std::uint64_t blocks;
  std::uint64_t bfree;
  std::uint64_t bavail;
  std::uint64_t files;
  std::uint64_t ffree;
  std::uint32_t bsize;
  std::uint32_t namelen;
  std::uint32_t frsize;
  std::uint32_t padding;
  std::uint32_t spare[6];
};
static_assert(sizeof(StatFsOut) == 80);

/// Bytes before the data of a WRITE.
inline constexpr std::size_t kWritePrefix = sizeof(InHeader) + sizeof(WriteIn);

}  // namespace ploop::transport::fuse
