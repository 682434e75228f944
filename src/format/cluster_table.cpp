// Table pages: a run of little-endian words, converted a page at a time.
#include "format/cluster_table.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/endian.hpp"

namespace ploop::format {
namespace {

/// Words of a page that are taken by the header.
std::size_t words_before_slots(std::uint32_t page) {
  return page == 0 ? kTableFirstWord : 0;
}

std::uint64_t first_slot(std::uint32_t page) {
  return page == 0 ? 0 : std::uint64_t{page} * kSlotsPerPage - kTableFirstWord;
}

}  // namespace

std::uint32_t table_pages(std::uint32_t table_entries) {
  return static_cast<std::uint32_t>(div_up(std::uint64_t{table_entries} + kTableFirstWord, kSlotsPerPage));
}

PageSlots slots_of_page(std::uint32_t table_entries, std::uint32_t page) {
  const std::uint64_t first = first_slot(page);
  if (first >= table_entries) return {first, 0};
  const std::uint64_t room = kSlotsPerPage - words_before_slots(page);
  return {first, static_cast<std::uint32_t>(std::min<std::uint64_t>(room, table_entries - first))};
}

bool encode_table_page(const Header& header, std::uint32_t page, std::span<const std::uint32_t> clusters,
                       std::span<std::byte> out) {
  assert(out.size() == kTablePageSize);
  assert(clusters.size() == slots_of_page(header.table_entries, page).count);
  std::byte* position = out.data() + words_before_slots(page) * kTableEntrySize;
  for (const std::uint32_t cluster : clusters) {
    const std::uint32_t slot = slot_from_cluster(header, cluster);
    if (slot == kInvalidSlot) return false;
    const le32 stored = slot;
    std::memcpy(position, &stored, sizeof stored);
    position += sizeof stored;
  }
  std::fill(position, out.data() + out.size(), std::byte{0});
  return true;
}

std::size_t decode_table_page(std::uint32_t page, std::span<const std::byte> bytes,
                              std::span<std::uint32_t> slots) {
  const std::size_t skip = words_before_slots(page) * kTableEntrySize;
  if (bytes.size() < skip) return 0;
  const std::size_t count = std::min((bytes.size() - skip) / kTableEntrySize, slots.size());
  const std::byte* position = bytes.data() + skip;
  for (std::size_t i = 0; i < count; ++i, position += kTableEntrySize) {
    le32 stored;
    std::memcpy(&stored, position, sizeof stored);
    slots[i] = stored;
  }
  return count;
}

}  // namespace ploop::format
