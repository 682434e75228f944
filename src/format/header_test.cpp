#include "format/header.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace ploop::format {
namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[std::to_integer<unsigned>(b) >> 4];
    text += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

std::string without_spaces(std::string text) {
  std::erase(text, ' ');
  return text;
}

// ------------------------------------------------------------------------------------------------ new
// headers

struct NewHeaderRow {
  std::uint64_t request;
  std::uint32_t cluster;
  std::uint64_t size;
  std::uint32_t entries;
  std::uint32_t header_clusters;
  std::uint32_t first_block;
  std::uint32_t cylinders;
  std::uint32_t heads;
  std::uint32_t sectors;
};

class NewHeader : public testing::TestWithParam<NewHeaderRow> {};

TEST_P(NewHeader, HasTheOriginalsNumbers) {
  const NewHeaderRow& row = GetParam();
  const auto header = make_header(row.request, row.cluster, Version::V2);
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->size_sectors, row.size);
  EXPECT_EQ(header->table_entries, row.entries);
  EXPECT_EQ(header->header_clusters(), row.header_clusters);
  EXPECT_EQ(header->first_block_sectors, row.first_block);
  EXPECT_EQ(header->cylinders, row.cylinders);
  EXPECT_EQ(header->heads, row.heads);
  EXPECT_EQ(sectors_per_track(header->size_sectors), row.sectors);
  const auto decoded = decode_header(encode_header(*header));
  ASSERT_TRUE(decoded) << decoded.error().message();
  EXPECT_EQ(*decoded, *header);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, NewHeader,
    testing::Values(NewHeaderRow{4096, 64, 4096, 64, 1, 64, 8, 16, 32},
                    NewHeaderRow{1000001, 2048, 1001472, 489, 1, 2048, 1956, 16, 32},
                    NewHeaderRow{1032192, 2048, 1032192, 504, 1, 2048, 1024, 16, 63},
                    NewHeaderRow{2097152, 2048, 2097152, 1024, 1, 2048, 2080, 16, 63},
                    NewHeaderRow{2097152, 64, 2097152, 32768, 5, 320, 2080, 16, 63},
                    NewHeaderRow{16775168, 2048, 16775168, 8191, 1, 2048, 16642, 16, 63},
                    NewHeaderRow{16777216, 2048, 16777216, 8192, 1, 2048, 32768, 16, 32},
                    NewHeaderRow{20971520, 2048, 20971520, 10240, 1, 2048, 40960, 16, 32},
                    NewHeaderRow{536838144, 2048, 536838144, 262128, 1, 2048, 1048512, 16, 32},
                    NewHeaderRow{536840192, 2048, 536840192, 262129, 2, 4096, 1048516, 16, 32},
                    NewHeaderRow{536870912, 2048, 536870912, 262144, 2, 4096, 1048576, 16, 32},
                    NewHeaderRow{1ull << 31, 2048, 1ull << 31, 1048576, 5, 10240, 4194304, 16, 32},
                    NewHeaderRow{1ull << 32, 2048, 1ull << 32, 2097152, 9, 18432, 8388608, 16, 32},
                    NewHeaderRow{1ull << 35, 2048, 1ull << 35, 16777216, 65, 133120, 67108864, 16, 32},
                    NewHeaderRow{107374182400, 2048, 107374182400, 52428800, 201, 411648, 209715200, 16, 32},
                    // odd number of 64-sector clusters: no divisor above 2 for the heads
                    NewHeaderRow{64, 64, 64, 1, 1, 64, 1, 2, 32}));

struct BytesRow {
  const char* name;
  std::uint64_t sectors;
  std::uint32_t cluster;
  Version version;
  const char* bytes;
};

class HeaderBytes : public testing::TestWithParam<BytesRow> {};

TEST_P(HeaderBytes, MatchTheOriginal) {
  const BytesRow& row = GetParam();
  const auto header = make_header(row.sectors, row.cluster, row.version);
  ASSERT_TRUE(header);
  EXPECT_EQ(hex(encode_header(*header)), without_spaces(row.bytes));
}

INSTANTIATE_TEST_SUITE_P(Worked, HeaderBytes,
                         testing::Values(BytesRow{"1GiB_v2", 2097152, 2048, Version::V2,
                                                  "576974686f7546726553706163457874"
                                                  "02000000 10000000 20080000 00080000"
                                                  "00040000 00002000 00000000 00000000"
                                                  "00080000 01000000 00000000 00000000"},
                                         BytesRow{"1GiB_v1", 2097152, 2048, Version::V1,
                                                  "576974686f7574467265655370616365"
                                                  "02000000 10000000 20080000 00080000"
                                                  "00040000 00002000 00000000 00000000"
                                                  "00080000 01000000 00000000 00000000"},
                                         BytesRow{"256GiB_v2", 536870912, 2048, Version::V2,
                                                  "576974686f7546726553706163457874"
                                                  "02000000 10000000 00001000 00080000"
                                                  "00000400 00000020 00000000 00000000"
                                                  "00100000 01000000 00000000 00000000"},
                                         BytesRow{"2TiB_v2", 1ull << 32, 2048, Version::V2,
                                                  "576974686f7546726553706163457874"
                                                  "02000000 10000000 00008000 00080000"
                                                  "00002000 00000000 01000000 00000000"
                                                  "00480000 01000000 00000000 00000000"},
                                         BytesRow{"16MiB_v1_32KiB", 32768, 64, Version::V1,
                                                  "576974686f7574467265655370616365"
                                                  "02000000 10000000 40000000 40000000"
                                                  "00020000 00800000 00000000 00000000"
                                                  "40000000 01000000 00000000 00000000"}),
                         [](const auto& row) { return std::string("Image") + row.param.name; });

// ------------------------------------------------------------------------------------------------ limits

TEST(HeaderLimits, V1SizeStopsBelowTwoTebibytes) {
  EXPECT_EQ(max_size_sectors(Version::V1, 2048), 0xFFFFF800u);
  EXPECT_EQ(make_header(0xFFFFF800u, 2048, Version::V1)->size_sectors, 0xFFFFF800u);
  // No whole cluster fits above: rounded down, as the original does.
  EXPECT_EQ(make_header(0xFFFFFFFFu, 2048, Version::V1)->size_sectors, 0xFFFFF800u);
  const auto too_large = make_header(1ull << 32, 2048, Version::V1);
  ASSERT_FALSE(too_large);
  EXPECT_EQ(too_large.error().code, ExitCode::Param);
}

TEST(HeaderLimits, V2SizeStopsAtTheSlotCount) {
  const std::uint64_t limit = 0xFFFFFFFFull * 64;
  EXPECT_EQ(make_header(limit, 64, Version::V2)->table_entries, 0xFFFFFFFFu);
  EXPECT_EQ(make_header(limit + 63, 64, Version::V2)->size_sectors, limit);
  EXPECT_EQ(make_header(limit + 64, 64, Version::V2).error().code, ExitCode::Param);
  EXPECT_EQ(make_header(~0ull, 2048, Version::V2).error().code, ExitCode::Param);
  EXPECT_EQ(make_header(~0ull, 2048, Version::V1).error().code, ExitCode::Param);
}

TEST(HeaderLimits, ZeroSizeAndWrongClusterSizesAreRefused) {
  EXPECT_EQ(make_header(0, 2048, Version::V2).error().code, ExitCode::Param);
  for (const std::uint32_t bad : {0u, 1u, 32u, 63u, 65u, 504u, 2047u, 262144u, 0x80000000u}) {
    EXPECT_FALSE(valid_cluster_sectors(bad)) << bad;
    EXPECT_FALSE(make_header(2097152, bad, Version::V2)) << bad;
  }
  for (std::uint32_t good = 64; good <= 131072; good *= 2)
    EXPECT_TRUE(valid_cluster_sectors(good)) << good;
}

// ------------------------------------------------------------------------------------------------ slots

TEST(Slots, V1CountsSectorsAndV2Clusters) {
  const Header v1 = *make_header(2097152, 128, Version::V1);
  const Header v2 = *make_header(2097152, 128, Version::V2);
  for (const std::uint32_t cluster : {0u, 1u, 2u, 4u, 0x01FFFFFFu}) {
    EXPECT_EQ(slot_from_cluster(v1, cluster), cluster * 128);
    EXPECT_EQ(slot_from_cluster(v2, cluster), cluster);
    EXPECT_EQ(cluster_from_slot(v1, cluster * 128), cluster);
    EXPECT_EQ(cluster_from_slot(v2, cluster), cluster);
  }
  EXPECT_EQ(cluster_from_slot(v1, 65), kInvalidSlot);
  EXPECT_EQ(cluster_from_slot(v1, kInvalidSlot), kInvalidSlot);
  EXPECT_EQ(cluster_from_slot(v2, kInvalidSlot), kInvalidSlot);
}

TEST(Slots, WhatAVersionCannotExpressIsInvalidAndNeverWraps) {
  const Header v1 = *make_header(2097152, 2048, Version::V1);
  EXPECT_EQ(max_image_clusters(v1), 1u << 21);
  EXPECT_EQ(slot_from_cluster(v1, (1u << 21) - 1), 0xFFFFF800u);
  EXPECT_EQ(slot_from_cluster(v1, 1u << 21), kInvalidSlot);
  const Header v2 = *make_header(2097152, 2048, Version::V2);
  EXPECT_EQ(slot_from_cluster(v2, 0xFFFFFFFEu), 0xFFFFFFFEu);
  EXPECT_EQ(slot_from_cluster(v2, 0xFFFFFFFFu), kInvalidSlot);
}

// ------------------------------------------------------------------------------------------------ damage

struct DamageRow {
  const char* name;
  Version version;
  std::size_t offset;
  std::vector<unsigned> bytes;
  const char* message;  // nullptr: must still decode
};

class DamagedHeader : public testing::TestWithParam<DamageRow> {};

TEST_P(DamagedHeader, IsRefusedWithTheReasonOrHarmless) {
  const DamageRow& row = GetParam();
  auto bytes = encode_header(*make_header(2097152, 2048, row.version));
  for (std::size_t i = 0; i < row.bytes.size(); ++i)
    bytes[row.offset + i] = std::byte(row.bytes[i]);
  const auto decoded = decode_header(bytes);
  if (row.message == nullptr) {
    EXPECT_TRUE(decoded) << decoded.error().message();
    return;
  }
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, ExitCode::Format);
  EXPECT_EQ(decoded.error().message().substr(0, std::strlen(row.message)), row.message);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, DamagedHeader,
    testing::Values(
        DamageRow{"SignatureFirst", Version::V2, 0, {0x00}, "Wrong signature"},
        DamageRow{"SignatureLast", Version::V2, 15, {0x65}, "Wrong signature"},
        DamageRow{"TypeZero", Version::V2, 16, {0}, "Wrong type"},
        DamageRow{"TypeHigh", Version::V2, 19, {1}, "Wrong type"},
        DamageRow{"GeometryZero", Version::V2, 20, {0, 0, 0, 0, 0, 0, 0, 0}, nullptr},
        DamageRow{"GeometryOfQemu", Version::V2, 24, {0x00, 0x10}, nullptr},
        DamageRow{"ClusterZero", Version::V2, 28, {0, 0}, "Wrong cluster size 0"},
        DamageRow{"ClusterSmall", Version::V2, 28, {32, 0}, "Wrong cluster size 32"},
        DamageRow{"ClusterOdd", Version::V2, 28, {63, 0}, "Wrong cluster size 63"},
        DamageRow{"ClusterHuge", Version::V2, 28, {0, 0, 4, 0}, "Wrong cluster size 262144"},
        DamageRow{"EntriesZero", Version::V2, 32, {0, 0}, "Wrong table length 0"},
        DamageRow{"EntriesLess", Version::V2, 32, {0xFF, 0x03}, "Wrong table length"},
        DamageRow{"EntriesMore", Version::V2, 32, {0x01, 0x04}, "Wrong table length"},
        DamageRow{"EntriesMax", Version::V2, 32, {0xFF, 0xFF, 0xFF, 0xFF}, "Wrong table length"},
        DamageRow{"SizeZero", Version::V2, 36, {0, 0, 0}, "Wrong size 0"},
        DamageRow{"SizePlusPow32", Version::V2, 40, {1}, "Wrong table length"},
        DamageRow{"SizeMax", Version::V2, 36, {255, 255, 255, 255, 255, 255, 255, 255}, "Wrong table length"},
        DamageRow{"SizeUpperHalfIgnoredInV1", Version::V1, 40, {1, 2, 3, 4}, nullptr},
        DamageRow{"SizeUnaligned", Version::V2, 36, {0xFF, 0xFF, 0x1F}, nullptr},
        DamageRow{"InUse", Version::V2, 44, {0x59, 0x6e, 0x6f, 0x74}, nullptr},
        DamageRow{"ForeignMark", Version::V2, 44, {'p', 'd', '1', '7'}, nullptr},
        DamageRow{"FirstBlockZero", Version::V2, 48, {0, 0}, "Wrong first block offset"},
        DamageRow{"FirstBlockZeroV1", Version::V1, 48, {0, 0}, "Wrong first block offset"},
        DamageRow{"FirstBlockOdd", Version::V2, 48, {1}, "Wrong first block offset"},
        DamageRow{"FirstBlockLater", Version::V2, 48, {0, 0x10}, nullptr},
        DamageRow{"UnknownFlag", Version::V2, 52, {4}, "Wrong flags 0x4"},
        DamageRow{"InvalidFlags", Version::V2, 52, {255, 255, 255, 255}, "Wrong flags"},
        DamageRow{"ConvertFlag", Version::V2, 52, {3}, nullptr},
        DamageRow{"ExtensionAnything", Version::V2, 56, {1, 2, 3, 4, 5, 6, 7, 8}, nullptr}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(HeaderDecode, RefusesEveryTruncation) {
  const auto bytes = encode_header(*make_header(2097152, 2048, Version::V2));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const auto decoded = decode_header(std::span(bytes).first(n));
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().code, ExitCode::Read);
  }
}

TEST(HeaderDecode, FirstBlockInsideTheTableIsRefused) {
  Header header = *make_header(2097152, 64, Version::V2);  // five header clusters
  header.first_block_sectors = 256;                        // only four
  EXPECT_EQ(decode_header(encode_header(header)).error().message(), "Wrong first block offset");
}

TEST(HeaderDecode, WhateverIsAcceptedEncodesToTheSameBytes) {
  std::mt19937_64 random(20240501);
  int accepted = 0;
  for (int i = 0; i < 200000; ++i) {
    const Version version = (random() & 1) != 0 ? Version::V1 : Version::V2;
    auto bytes = encode_header(*make_header(1 + random() % 100000000, 64u << (random() % 12), version));
    for (int change = static_cast<int>(random() % 3); change > 0; --change) {
      bytes[16 + random() % 48] = std::byte(random() & 0xFF);
    }
    const auto header = decode_header(bytes);
    if (!header) continue;
    ++accepted;
    if (header->version == Version::V1) {
      for (std::size_t k = 40; k < 44; ++k)
        bytes[k] = std::byte{0};
    }
    ASSERT_EQ(encode_header(*header), bytes);
    ASSERT_GE(header->size_sectors, 1u);
    ASSERT_GE(std::uint64_t{header->table_entries} * header->cluster_sectors, header->size_sectors);
    ASSERT_GE(header->header_clusters(), 1u);
  }
  EXPECT_GT(accepted, 10000);
}

}  // namespace
}  // namespace ploop::format
