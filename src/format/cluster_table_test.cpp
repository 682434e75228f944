#include "format/cluster_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace ploop::format {
namespace {

std::uint32_t word_at(const std::vector<std::byte>& page, std::size_t index) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value |= std::to_integer<std::uint32_t>(page[index * 4 + i]) << (8 * i);
  return value;
}

TEST(TablePages, EverySlotIsInExactlyOnePage) {
  for (const std::uint32_t entries : {1u, 1007u, 1008u, 1009u, 2031u, 2032u, 2033u, 8176u, 262128u}) {
    std::uint64_t next = 0;
    for (std::uint32_t page = 0; page < table_pages(entries); ++page) {
      const PageSlots slots = slots_of_page(entries, page);
      ASSERT_EQ(slots.first, next);
      ASSERT_GT(slots.count, 0u);
      EXPECT_EQ(page_of_slot(slots.first), page);
      EXPECT_EQ(page_of_slot(slots.first + slots.count - 1), page);
      next += slots.count;
    }
    EXPECT_EQ(next, entries);
    EXPECT_EQ(slots_of_page(entries, table_pages(entries)).count, 0u);
  }
}

TEST(TablePages, LargestTableDoesNotOverflow) {
  EXPECT_EQ(table_pages(0xFFFFFFFFu), 4194305u);  // 2^32 + 15 words
  EXPECT_EQ(slots_of_page(0xFFFFFFFFu, 4194303).first, 4294966256u);
  EXPECT_EQ(page_of_slot(0xFFFFFFFEu), 4194304u);
}

TEST(TablePages, PageZeroKeepsTheHeaderBytes) {
  const Header header = *make_header(1024 * 128, 128, Version::V1);
  std::vector<std::byte> page(kTablePageSize, std::byte{0xEE});
  std::vector<std::uint32_t> clusters(slots_of_page(header.table_entries, 0).count);
  std::iota(clusters.begin(), clusters.end(), 1u);
  ASSERT_TRUE(encode_table_page(header, 0, clusters, page));
  EXPECT_EQ(word_at(page, 0), 0xEEEEEEEEu);
  EXPECT_EQ(word_at(page, 15), 0xEEEEEEEEu);
  EXPECT_EQ(word_at(page, 16), 128u);
  EXPECT_EQ(word_at(page, 1023), 1008u * 128);
}

TEST(TablePages, TheRestOfTheLastPageBecomesZero) {
  const Header header = *make_header(1024 * 2048, 2048, Version::V2);  // 1024 entries: 1008 + 16
  std::vector<std::byte> page(kTablePageSize, std::byte{0xEE});
  const std::vector<std::uint32_t> clusters(16, 7);
  ASSERT_TRUE(encode_table_page(header, 1, clusters, page));
  for (std::size_t i = 0; i < kSlotsPerPage; ++i)
    EXPECT_EQ(word_at(page, i), i < 16 ? 7u : 0u);
}

TEST(TablePages, ClustersTheVersionCannotExpressAreRefused) {
  const Header v1 = *make_header(1024 * 2048, 2048, Version::V1);
  std::vector<std::byte> page(kTablePageSize);
  std::vector<std::uint32_t> clusters(16, 1);
  clusters[9] = 1u << 21;
  EXPECT_FALSE(encode_table_page(v1, 1, clusters, page));
  const Header v2 = *make_header(1024 * 2048, 2048, Version::V2);
  EXPECT_TRUE(encode_table_page(v2, 1, clusters, page));
  clusters[9] = kInvalidSlot;
  EXPECT_FALSE(encode_table_page(v2, 1, clusters, page));
}

TEST(TablePages, RoundTrip) {
  for (const Version version : {Version::V1, Version::V2}) {
    const Header header = *make_header(3000 * 64, 64, version);
    std::vector<std::uint32_t> clusters(header.table_entries);
    for (std::uint32_t i = 0; i < header.table_entries; ++i)
      clusters[i] = i % 3 == 0 ? 0 : i * 977;
    for (std::uint32_t page = 0; page < table_pages(header.table_entries); ++page) {
      const PageSlots where = slots_of_page(header.table_entries, page);
      const auto part = std::span(clusters).subspan(where.first, where.count);
      std::vector<std::byte> bytes(kTablePageSize);
      ASSERT_TRUE(encode_table_page(header, page, part, bytes));
      std::vector<std::uint32_t> slots(where.count);
      ASSERT_EQ(decode_table_page(page, bytes, slots), where.count);
      for (std::uint32_t& slot : slots)
        slot = cluster_from_slot(header, slot);
      EXPECT_TRUE(std::equal(slots.begin(), slots.end(), part.begin(), part.end()));
    }
  }
}

TEST(TablePages, ShortPageGivesOnlyWhatIsThere) {
  std::vector<std::byte> bytes(70, std::byte{1});
  std::vector<std::uint32_t> slots(10);
  EXPECT_EQ(decode_table_page(0, bytes, slots), 1u);
  EXPECT_EQ(decode_table_page(0, std::span(bytes).first(20), slots), 0u);
  EXPECT_EQ(decode_table_page(1, std::span(bytes).first(11), slots), 2u);
}

}  // namespace
}  // namespace ploop::format
