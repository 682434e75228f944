// Whatever the bytes are, parsing a descriptor ends; what it accepts survives a rewrite unchanged, and the
// rewrite is stable.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "descriptor/snapshot_rows.hpp"
#include "descriptor/xml.hpp"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ploop::descriptor;
  const std::string directory = "/vz/disk";
  const auto disk = parse(std::string_view(reinterpret_cast<const char*>(data), size), directory);
  if (!disk) return 0;
  const std::string text = serialize(*disk);
  const auto again = parse(text, directory);
  require(again.has_value());
  require(*again == *disk);
  require(serialize(*again) == text);
  for (const Shot& shot : disk->shots) {
    const auto chain = disk->chain(shot.uuid);
    require(chain && chain->size() <= kMaxChain);
  }
  require(snapshot_rows(*disk).has_value());
  return 0;
}
