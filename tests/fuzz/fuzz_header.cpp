// Header and extension decoders on arbitrary bytes: whatever they accept is consistent, and encodes to the
// same bytes again.
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/endian.hpp"
#include "format/cluster_table.hpp"
#include "format/extension.hpp"
#include "format/header.hpp"
#include "image_input.hpp"
#include "require.hpp"

namespace ploop {
namespace {

void check_accepted(const format::Header& header, std::span<const std::byte> bytes) {
  REQUIRE(format::valid_cluster_sectors(header.cluster_sectors));
  REQUIRE(header.size_sectors != 0);
  REQUIRE(std::uint64_t{header.table_entries} * header.cluster_sectors >= header.size_sectors);
  REQUIRE((header.table_entries - 1ull) * header.cluster_sectors < header.size_sectors);
  REQUIRE(header.header_clusters() >= 1);
  REQUIRE(std::uint64_t{header.first_block_sectors} * 512 >= 64 + 4ull * header.table_entries);
  const auto encoded = format::encode_header(header);
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    const bool ignored = header.version == format::Version::V1 && i >= 40 && i < 44;
    REQUIRE(encoded[i] == (ignored ? std::byte{0} : bytes[i]));
  }
  // Slots: what the version expresses comes back, what it does not is invalid.
  for (const std::uint32_t number : {0u, 1u, header.table_entries, 0x7FFFFFFFu, 0xFFFFFFFEu, 0xFFFFFFFFu}) {
    const std::uint32_t slot = format::slot_from_cluster(header, number);
    REQUIRE((slot == format::kInvalidSlot) == (number >= format::max_image_clusters(header)));
    if (slot != format::kInvalidSlot) REQUIRE(format::cluster_from_slot(header, slot) == number);
  }
  const std::uint32_t last = format::table_pages(header.table_entries) - 1;
  const format::PageSlots slots = format::slots_of_page(header.table_entries, last);
  REQUIRE(slots.count > 0 && slots.first + slots.count == header.table_entries);
}

/// The new image that has the size and cluster of the input.
void check_made(std::uint64_t size, std::uint32_t cluster, format::Version version) {
  const auto made = format::make_header(size, cluster, version);
  if (!made) return;
  REQUIRE(made->size_sectors % cluster == 0);
  REQUIRE(made->size_sectors <= format::max_size_sectors(version, cluster));
  const auto decoded = format::decode_header(format::encode_header(*made));
  REQUIRE(decoded && *decoded == *made);
}

}  // namespace
}  // namespace ploop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ploop;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto header = format::decode_header(bytes);
  if (size >= format::kHeaderSize) {
    le64 sectors;
    le32 cluster;
    std::memcpy(&sectors, data + 36, 8);
    std::memcpy(&cluster, data + 28, 4);
    check_made(sectors, cluster, format::Version::V1);
    check_made(sectors, cluster, format::Version::V2);
  }
  if (!header) return 0;
  check_accepted(*header, bytes);
  // What follows the header is the beginning of an extension cluster; its checksum is taken as right.
  if (header->cluster_bytes() > 1 << 20) return 0;
  std::vector<std::byte> cluster(header->cluster_bytes());
  const auto rest = bytes.subspan(format::kHeaderSize);
  std::copy_n(rest.begin(), std::min(rest.size(), cluster.size()), cluster.begin());
  fuzz::seal(cluster);
  if (const auto extension = format::decode_extension(cluster, *header); extension && extension->bitmap) {
    REQUIRE(extension->bitmap->size_sectors == header->size_sectors);
    REQUIRE(extension->bitmap->l1.size() <= cluster.size() / 8);
  }
  return 0;
}
