// The cluster table in pages of 4 KiB, which is how it is read and written. Page 0 begins with the 64 header
// bytes; slot n is 32-bit word n + 16 of the file. See docs/format.md, section 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "format/header.hpp"

namespace ploop::format {

/// Pages that hold at least one slot of a table of this many entries.
std::uint32_t table_pages(std::uint32_t table_entries);

/// The page with the slot of this guest cluster.
inline std::uint32_t page_of_slot(std::uint64_t guest_cluster) {
  return static_cast<std::uint32_t>((guest_cluster + kTableFirstWord) / kSlotsPerPage);
}

/// Guest clusters whose slots are in one page.
struct PageSlots {
  std::uint64_t first = 0;
  std::uint32_t count = 0;
};
PageSlots slots_of_page(std::uint32_t table_entries, std::uint32_t page);

/// File offset of a page in bytes.
inline std::uint64_t page_offset(std::uint32_t page) {
  return std::uint64_t{page} * kTablePageSize;
}

/// Builds the page as it goes to disk. `clusters` are the image clusters (0 = not here) of exactly
/// slots_of_page(). In page 0 the first 64 bytes of `out` are left alone: the caller puts the header there.
/// Unused slots become 0. False when a cluster number has no slot value in this version; `out` is not to be
/// written then.
[[nodiscard]] bool encode_table_page(const Header& header, std::uint32_t page,
                                     std::span<const std::uint32_t> clusters, std::span<std::byte> out);

/// The stored slots of a page, without interpretation. `slots` gets as many as fit of those that follow the
/// page's first slot (in page 0: after the header). Returns how many were filled.
std::size_t decode_table_page(std::uint32_t page, std::span<const std::byte> bytes,
                              std::span<std::uint32_t> slots);

}  // namespace ploop::format
