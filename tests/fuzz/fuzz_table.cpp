// Opening an image from arbitrary bytes: what opens has a table that can be trusted, and opening changes
// nothing.
#include <vector>

#include "image/delta.hpp"
#include "image/extension_file.hpp"
#include "image/stack.hpp"
#include "image_input.hpp"
#include "require.hpp"

namespace ploop {
namespace {

constexpr std::uint32_t kLimitSectors = 1u << 22;  // 2 GiB, sparse

void check_opened(const image::Delta& delta) {
  const std::uint64_t file_clusters = delta.file_bytes() / delta.cluster_bytes();
  std::vector<bool> seen(file_clusters);
  REQUIRE(delta.table().size() == delta.header().table_entries);
  for (const std::uint32_t cluster : delta.table()) {
    if (cluster == 0) continue;
    REQUIRE(cluster >= delta.header().header_clusters());
    REQUIRE(cluster < file_clusters);
    REQUIRE(cluster < delta.end_cluster());
    REQUIRE(!seen[cluster]);
    seen[cluster] = true;
  }
}

void check_stack(image::Delta delta) {
  std::vector<image::Delta> deltas;
  deltas.push_back(std::move(delta));
  const auto stack = image::Stack::make(std::move(deltas));
  REQUIRE(stack.has_value());
  const auto map = stack->resolve_all();
  REQUIRE(map.size() == stack->guest_clusters());
  for (std::uint64_t guest = 0; guest < map.size(); guest += 1 + map.size() / 100)
    REQUIRE(map[guest] == stack->resolve(guest));
  std::vector<std::byte> sector(kSectorSize);
  REQUIRE(stack->read(0, sector));
  REQUIRE(stack->read(stack->size_bytes() - kSectorSize, sector));
  REQUIRE(!stack->read(stack->size_bytes(), sector));
}

}  // namespace
}  // namespace ploop

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ploop;
  fuzz::ImageInput input = fuzz::decode_input({data, size}, kLimitSectors);
  if (!input.file) return 0;
  image::OpenOptions options;
  options.allow_in_use = (input.options & 1) != 0;
  options.writable = (input.options & 2) != 0;
  options.raw_cluster_sectors = 64u << (input.options >> 4 & 3);
  const auto kind = (input.options & 4) != 0 ? image::Kind::Raw : image::Kind::Ploop1;
  const std::int64_t length = input.file->size();
  auto delta = image::Delta::open(std::move(input.file), kind, options);
  if (!delta) {
    REQUIRE(!delta.error().what.empty());
    return 0;
  }
  REQUIRE(delta->file().size() == length);
  if (kind == image::Kind::Ploop1) {
    check_opened(*delta);
    const auto extension = image::read_extension(delta->file(), delta->header(), delta->file_bytes());
    if (extension && *extension && (*extension)->bitmap && (*extension)->bitmap->l1.size() < 64) {
      REQUIRE(image::summarize_bitmap(delta->file(), delta->header(), *(*extension)->bitmap, 16));
    }
  }
  check_stack(std::move(*delta));
  return 0;
}
