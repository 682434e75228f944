#include "format/extension.hpp"

#include <gtest/gtest.h>
#include <md5.h>

#include <cstring>
#include <functional>
#include <string>

#include "base/endian.hpp"

namespace ploop::format {
namespace {

using Bytes = std::vector<std::byte>;

/// 16 GiB in 1 MiB clusters, extension at file cluster 2: room for one bitmap cluster before it.
Header header_with_extension() {
  Header header = *make_header(1u << 25, 2048, Version::V2);
  header.in_use = kClosedWithExtension;
  header.extension_sectors = 4096;
  return header;
}

DirtyBitmap bitmap_of(const Header& header) {
  DirtyBitmap bitmap;
  bitmap.size_sectors = header.size_sectors;
  for (std::size_t i = 0; i < 16; ++i)
    bitmap.id[i] = static_cast<std::uint8_t>(i * 17);
  bitmap.granularity_sectors = 128;
  bitmap.l1 = {2048};
  return bitmap;
}

void put32(Bytes& bytes, std::size_t offset, std::uint32_t value) {
  const le32 stored = value;
  std::memcpy(bytes.data() + offset, &stored, sizeof stored);
}
void put64(Bytes& bytes, std::size_t offset, std::uint64_t value) {
  const le64 stored = value;
  std::memcpy(bytes.data() + offset, &stored, sizeof stored);
}

/// Makes the checksum right again after a change, so that the change itself is what gets judged.
void seal(Bytes& bytes) {
  MD5_CTX context;
  MD5Init(&context);
  MD5Update(&context, reinterpret_cast<const std::uint8_t*>(bytes.data()) + 24, bytes.size() - 24);
  MD5Final(reinterpret_cast<std::uint8_t*>(bytes.data()) + 8, &context);
}

TEST(Extension, RoundTrip) {
  const Header header = header_with_extension();
  const DirtyBitmap bitmap = bitmap_of(header);
  const auto bytes = encode_extension(bitmap, header.cluster_bytes());
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->size(), header.cluster_bytes());
  const auto extension = decode_extension(*bytes, header);
  ASSERT_TRUE(extension) << extension.error().message();
  EXPECT_EQ(extension->features, 1u);
  EXPECT_EQ(extension->bitmap, bitmap);
  EXPECT_FALSE(extension->unknown_necessary);
  EXPECT_FALSE(extension->unknown_transit);
}

TEST(Extension, StartsWithTheKnownBytes) {
  const Header header = header_with_extension();
  const Bytes bytes = *encode_extension(bitmap_of(header), header.cluster_bytes());
  const unsigned char magic[] = {0x87, 0xea, 0xdc, 0x23, 0xef, 0x4c, 0x23, 0xab};
  const unsigned char feature[] = {0x4a, 0xb3, 0x2c, 0x25, 0xae, 0x5f, 0x38, 0x20};
  EXPECT_EQ(std::memcmp(bytes.data(), magic, 8), 0);
  EXPECT_EQ(std::memcmp(bytes.data() + 24, feature, 8), 0);
  EXPECT_EQ(std::to_integer<int>(bytes[40]), 0x28);
}

struct Damage {
  const char* name;
  std::function<void(Bytes&)> change;
  bool sealed;
  const char* message;  // nullptr: accepted
};

class DamagedExtension : public testing::TestWithParam<Damage> {};

TEST_P(DamagedExtension, IsRefusedWithTheReason) {
  const Header header = header_with_extension();
  Bytes bytes = *encode_extension(bitmap_of(header), header.cluster_bytes());
  GetParam().change(bytes);
  if (GetParam().sealed) seal(bytes);
  const auto extension = decode_extension(bytes, header);
  if (GetParam().message == nullptr) {
    EXPECT_TRUE(extension) << extension.error().message();
    return;
  }
  ASSERT_FALSE(extension);
  EXPECT_EQ(extension.error().code, ExitCode::Format);
  EXPECT_EQ(extension.error().message(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DamagedExtension,
    testing::Values(
        Damage{"Magic", [](Bytes& b) { put64(b, 0, 1); }, true, "Wrong extension magic"},
        Damage{"ChecksumItself", [](Bytes& b) { b[9] ^= std::byte{1}; }, false, "Wrong extension checksum"},
        Damage{"LastByte", [](Bytes& b) { b.back() = std::byte{1}; }, false, "Wrong extension checksum"},
        Damage{"BytesBehindTheList", [](Bytes& b) { b.back() = std::byte{1}; }, true,
               "Wrong end of extension"},
        Damage{"EndWithFlags", [](Bytes& b) { put64(b, 96, 1); }, true, "Wrong end of extension"},
        Damage{"DataSizeHuge", [](Bytes& b) { put32(b, 40, 0xFFFFFFFF); }, true, "Wrong extension feature"},
        Damage{"DataSizeBeyondCluster", [](Bytes& b) { put32(b, 40, 1 << 20); }, true,
               "Wrong extension feature"},
        Damage{"DataSizeZero", [](Bytes& b) { put32(b, 40, 0); }, true, "Short dirty bitmap"},
        Damage{"DataSizeCutsL1", [](Bytes& b) { put32(b, 40, 36); }, true, "Wrong dirty bitmap length"},
        Damage{"ReservedWord", [](Bytes& b) { put32(b, 44, 1); }, true, "Wrong extension feature"},
        Damage{"BitmapSize", [](Bytes& b) { put64(b, 48, 5); }, true, "Wrong dirty bitmap size"},
        Damage{"GranularityZero", [](Bytes& b) { put32(b, 72, 0); }, true,
               "Wrong dirty bitmap granularity 0"},
        Damage{"GranularityThree", [](Bytes& b) { put32(b, 72, 3); }, true,
               "Wrong dirty bitmap granularity 3"},
        Damage{"GranularityHuge", [](Bytes& b) { put32(b, 72, 1u << 31); }, true, nullptr},
        Damage{"L1CountMore", [](Bytes& b) { put32(b, 76, 2); }, true, "Wrong dirty bitmap length"},
        Damage{"L1CountMax", [](Bytes& b) { put32(b, 76, 0xFFFFFFFF); }, true, "Wrong dirty bitmap length"},
        Damage{"L1Misaligned", [](Bytes& b) { put64(b, 80, 2049); }, true,
               "Wrong dirty bitmap position 2049"},
        Damage{"L1IsTheExtension", [](Bytes& b) { put64(b, 80, 4096); }, true,
               "Wrong dirty bitmap position 4096"},
        Damage{"L1AllSet", [](Bytes& b) { put64(b, 80, 1); }, true, nullptr},
        Damage{"L1AllClear", [](Bytes& b) { put64(b, 80, 0); }, true, nullptr}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Extension, UnknownFeaturesAreReportedByTheirFlags) {
  const Header header = header_with_extension();
  for (const std::uint64_t flags : {0u, 1u, 2u, 3u}) {
    Bytes bytes(header.cluster_bytes());
    put64(bytes, 0, kExtensionMagic);
    put64(bytes, 24, 0x1122334455667788);
    put64(bytes, 32, flags);
    put32(bytes, 40, 5);  // padded to 8
    bytes[48] = std::byte{9};
    seal(bytes);
    const auto extension = decode_extension(bytes, header);
    ASSERT_TRUE(extension);
    EXPECT_EQ(extension->features, 1u);
    EXPECT_EQ(extension->unknown_necessary, (flags & 1) != 0);
    EXPECT_EQ(extension->unknown_transit, flags == 2);
    EXPECT_FALSE(extension->bitmap);
  }
}

TEST(Extension, FeatureListMayFillTheClusterToItsEnd) {
  Header header = *make_header(1u << 16, 64, Version::V2);
  header.extension_sectors = 128;
  Bytes bytes(header.cluster_bytes());
  put64(bytes, 0, kExtensionMagic);
  put64(bytes, 24, 42);
  put32(bytes, 40, static_cast<std::uint32_t>(bytes.size() - 48));
  seal(bytes);
  EXPECT_TRUE(decode_extension(bytes, header));
}

TEST(Extension, TwoBitmapsAreRefused) {
  const Header header = header_with_extension();
  Bytes bytes = *encode_extension(bitmap_of(header), header.cluster_bytes());
  std::memcpy(bytes.data() + 88, bytes.data() + 24, 64);
  seal(bytes);
  EXPECT_EQ(decode_extension(bytes, header).error().message(), "More than one dirty bitmap");
}

TEST(Extension, WrongLengthIsRefused) {
  const Header header = header_with_extension();
  const Bytes bytes = *encode_extension(bitmap_of(header), header.cluster_bytes());
  EXPECT_FALSE(decode_extension(std::span(bytes).first(4096), header));
  EXPECT_FALSE(decode_extension({}, header));
}

TEST(Extension, BitmapThatDoesNotFitIsRefused) {
  DirtyBitmap bitmap = bitmap_of(header_with_extension());
  bitmap.l1.assign(4096, 0);
  EXPECT_EQ(encode_extension(bitmap, 32768).error().code, ExitCode::Param);
}

}  // namespace
}  // namespace ploop::format
