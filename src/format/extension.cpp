// Extension cluster: every length is checked against the bytes at hand before it is used.
#include "format/extension.hpp"

#include <fmt/format.h>
#include <md5.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/endian.hpp"

namespace ploop::format {
namespace {

struct RawExtension {
  le64 magic;
  std::array<std::uint8_t, 16> md5;  // of everything behind it
};
static_assert(sizeof(RawExtension) == 24 && alignof(RawExtension) == 1);

struct RawFeature {
  le64 magic;  // 0 ends the list
  le64 flags;
  le32 data_size;
  le32 unused;
};
static_assert(sizeof(RawFeature) == 24 && alignof(RawFeature) == 1);

struct RawBitmap {
  le64 size_sectors;
  std::array<std::uint8_t, 16> id;
  le32 granularity;
  le32 l1_count;
};
static_assert(sizeof(RawBitmap) == 32 && alignof(RawBitmap) == 1);

constexpr std::uint64_t kFeatureAlignment = 8;

template <typename T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::array<std::uint8_t, 16> md5_of(std::span<const std::byte> bytes) {
  MD5_CTX context;
  MD5Init(&context);
  MD5Update(&context, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  std::array<std::uint8_t, 16> digest;
  MD5Final(digest.data(), &context);
  return digest;
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Status check_l1_entry(std::uint64_t entry, const Header& header) {
  if (entry == DirtyBitmap::kAllClear || entry == DirtyBitmap::kAllSet) return {};
  if (entry % header.cluster_sectors != 0 || entry < header.first_block_sectors ||
      entry >= header.extension_sectors) {
    return fail(ExitCode::Format, fmt::format("Wrong dirty bitmap position {}", entry));
  }
  return {};
}

Result<DirtyBitmap> decode_bitmap(std::span<const std::byte> data, const Header& header) {
  if (data.size() < sizeof(RawBitmap)) return fail(ExitCode::Format, "Short dirty bitmap");
  const auto raw = load<RawBitmap>(data, 0);
  DirtyBitmap bitmap;
  bitmap.size_sectors = raw.size_sectors;
  bitmap.id = raw.id;
  bitmap.granularity_sectors = raw.granularity;
  if (bitmap.size_sectors != header.size_sectors) return fail(ExitCode::Format, "Wrong dirty bitmap size");
  if (!std::has_single_bit(bitmap.granularity_sectors)) {
    return fail(ExitCode::Format,
                fmt::format("Wrong dirty bitmap granularity {}", bitmap.granularity_sectors));
  }
  const std::uint32_t count = raw.l1_count;
  // The payload is the proof that there are that many entries; only then is memory taken for them.
  if ((data.size() - sizeof(RawBitmap)) / sizeof(le64) != count || data.size() % sizeof(le64) != 0) {
    return fail(ExitCode::Format, "Wrong dirty bitmap length");
  }
  const std::uint64_t expected = div_up(div_up(bitmap.bits(), 8), header.cluster_bytes());
  if (count != 0 && count != expected) return fail(ExitCode::Format, "Wrong dirty bitmap length");
  bitmap.l1.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t entry = load<le64>(data, sizeof(RawBitmap) + i * sizeof(le64));
    TRY(check_l1_entry(entry, header));
    bitmap.l1.push_back(entry);
  }
  return bitmap;
}

/// One feature of the list; `offset` moves behind it. False at the end of the list.
Result<bool> decode_feature(std::span<const std::byte> cluster, std::size_t& offset, const Header& header,
                            Extension& extension) {
  if (cluster.size() - offset < sizeof(RawFeature)) {
    // A list that fills the cluster to the last bytes has no terminator.
    if (!all_zero(cluster.subspan(offset))) return fail(ExitCode::Format, "Wrong extension feature");
    return false;
  }
  const auto raw = load<RawFeature>(cluster, offset);
  if (raw.magic == 0) {
    if (!all_zero(cluster.subspan(offset))) return fail(ExitCode::Format, "Wrong end of extension");
    return false;
  }
  offset += sizeof(RawFeature);
  const std::uint64_t size = raw.data_size;
  const std::uint64_t padded = round_up(size, kFeatureAlignment);
  if (padded > cluster.size() - offset || raw.unused != 0) {
    return fail(ExitCode::Format, "Wrong extension feature");
  }
  ++extension.features;
  if (raw.magic == kDirtyBitmapMagic) {
    if (extension.bitmap) return fail(ExitCode::Format, "More than one dirty bitmap");
    extension.bitmap = TRY(decode_bitmap(cluster.subspan(offset, size), header));
  } else if ((raw.flags & kFeatureNecessary) != 0) {
    extension.unknown_necessary = true;
  } else if ((raw.flags & kFeatureTransit) != 0) {
    extension.unknown_transit = true;
  }
  offset += padded;
  return true;
}

}  // namespace

Result<Extension> decode_extension(std::span<const std::byte> cluster, const Header& header) {
  if (cluster.size() != header.cluster_bytes()) return fail(ExitCode::Format, "Short extension");
  const auto raw = load<RawExtension>(cluster, 0);
  if (raw.magic != kExtensionMagic) return fail(ExitCode::Format, "Wrong extension magic");
  if (raw.md5 != md5_of(cluster.subspan(sizeof raw)))
    return fail(ExitCode::Format, "Wrong extension checksum");
  Extension extension;
  std::size_t offset = sizeof raw;
  while (TRY(decode_feature(cluster, offset, header, extension))) {
  }
  return extension;
}

Result<std::vector<std::byte>> encode_extension(const DirtyBitmap& bitmap, std::uint64_t cluster_bytes) {
  const std::uint64_t data_size = sizeof(RawBitmap) + bitmap.l1.size() * sizeof(le64);
  if (sizeof(RawExtension) + sizeof(RawFeature) + data_size > cluster_bytes) {
    return fail(ExitCode::Param, "Dirty bitmap does not fit into the extension");
  }
  std::vector<std::byte> cluster(cluster_bytes);
  std::size_t offset = sizeof(RawExtension);
  const auto put = [&](const auto& value) {
    std::memcpy(cluster.data() + offset, &value, sizeof value);
    offset += sizeof value;
  };
  put(RawFeature{kDirtyBitmapMagic, std::uint64_t{0}, static_cast<std::uint32_t>(data_size), 0u});
  put(RawBitmap{bitmap.size_sectors, bitmap.id, bitmap.granularity_sectors,
                static_cast<std::uint32_t>(bitmap.l1.size())});
  for (const std::uint64_t entry : bitmap.l1)
    put(le64{entry});
  offset = 0;
  put(RawExtension{kExtensionMagic,
                   md5_of(std::span<const std::byte>(cluster).subspan(sizeof(RawExtension)))});
  return cluster;
}

}  // namespace ploop::format
