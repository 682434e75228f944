// Reads that are more than one piece of one file: crossing clusters, unmapped ranges, partial clusters, the
// end of a raw base.

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/core.hpp"

namespace ploop::engine {

/// Reads one extent; behind the end of a raw base there are zeros, a ploop1 file that ends early is damaged.
Task<int> Core::read_extent(Core& self, Extent extent, std::byte* data) {
  const int got = co_await io::read(*self.ring_, *extent.file, {data, extent.length}, extent.offset);
  if (got < 0) co_return got;
  const auto have = static_cast<std::uint64_t>(got);
  if (have < extent.length) {
    if (!extent.raw) co_return -EIO;
    std::memset(data + have, 0, extent.length - have);
  }
  co_return 0;
}

/// One run after the other; the map is looked up anew after every wait, since it may have changed meanwhile.
Task<int> Core::read(Core& self, const Request* r) {
  std::uint64_t position = r->offset;
  const std::uint64_t end = r->offset + r->length;
  std::byte* data = r->data;
  while (position < end) {
    const std::uint64_t cluster = position >> self.cluster_shift_;
    const std::uint64_t inside = position & (self.cluster_bytes_ - 1);
    std::uint64_t length = std::min(end - position, self.cluster_bytes_ - inside);
    Entry e = self.map_.get(cluster);
    if (e.partial()) {
      const PartialRecord record = self.map_.record(e.record());
      const auto sector = static_cast<std::uint32_t>(inside / kSectorSize);
      length =
          std::uint64_t{record.run(sector, static_cast<std::uint32_t>(length / kSectorSize))} * kSectorSize;
      if (!record.present(sector)) e = record.lower();
    } else if (e.mapped()) {
      // Take in following clusters that continue the same file.
      while (position + length < end) {
        const std::uint64_t step = std::min(end - position - length, self.cluster_bytes_);
        Extent whole{};
        if (!self.find_extent(position, length + step, false, &whole)) break;
        length += step;
      }
    }
    if (!e.mapped()) {
      std::memset(data, 0, length);
    } else {
      const Extent extent = self.extent_of(e, inside, length);
      const int result = co_await read_extent(self, extent, data);
      if (result < 0) co_return result;
    }
    position += length;
    data += length;
  }
  co_return 0;
}

}  // namespace ploop::engine
