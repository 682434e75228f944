#include "engine/cluster_map.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/units.hpp"

namespace ploop::engine {
namespace {

constexpr std::uint64_t kHeaderBytes = 4096;
constexpr std::uint64_t kMagic = 0x32305041'4d4f4c50;  // "PLOMAP02"

}  // namespace

/// First bytes of the map memory. A successor of another layout must refuse it.
struct ClusterMap::Header {
  std::uint64_t magic;
  std::uint64_t clusters;
  std::uint64_t cluster_bytes;
  std::uint64_t levels;
  std::uint64_t top_level;
  std::uint64_t failed;
  std::uint64_t finished;
};

std::uint64_t MapGeometry::record_bytes() const {
  return 16 + div_up(sectors_per_cluster(), 64) * 8;
}

std::uint16_t MapGeometry::partial_records() const {
  return static_cast<std::uint16_t>(std::clamp<std::uint64_t>(kMiB / record_bytes(), 16, kMaxPartialRecords));
}

std::uint64_t MapGeometry::map_bytes() const {
  return round_up(kHeaderBytes + clusters * 8 + partial_records() * record_bytes(), 4096);
}

void PartialRecord::take(std::uint64_t guest_cluster, Entry lower) {
  std::fill_n(bitmap(), div_up(sectors_, 64), 0);
  words_[1] = lower.bits();
  // The record is in use only from here on; before, a successor ignores it.
  std::atomic_ref<std::uint64_t>(words_[0]).store(guest_cluster + 1, std::memory_order_release);
}

void PartialRecord::set_present(std::uint32_t first, std::uint32_t count) {
  for (std::uint32_t s = first; s < first + count;) {
    if (s % 64 == 0 && first + count - s >= 64) {
      bitmap()[s / 64] = ~std::uint64_t{0};
      s += 64;
    } else {
      bitmap()[s / 64] |= std::uint64_t{1} << (s % 64);
      ++s;
    }
  }
}

bool PartialRecord::all_present() const {
  return run(0, sectors_) == sectors_ && present(0);
}
bool PartialRecord::none_present() const {
  return run(0, sectors_) == sectors_ && !present(0);
}

std::uint32_t PartialRecord::run(std::uint32_t first, std::uint32_t limit) const {
  const bool value = present(first);
  const std::uint64_t uniform = value ? ~std::uint64_t{0} : 0;
  std::uint32_t s = first;
  while (s - first < limit) {
    if (s % 64 == 0 && limit - (s - first) >= 64 && bitmap()[s / 64] == uniform) {
      s += 64;
    } else if (present(s) == value) {
      ++s;
    } else {
      break;
    }
  }
  return s - first;
}

ClusterMap::ClusterMap(std::span<std::byte> memory, const MapGeometry& geometry)
    : memory_(memory.data()),
      geometry_(geometry),
      entries_(reinterpret_cast<std::uint64_t*>(memory.data() + kHeaderBytes)) {}

ClusterMap::Header& ClusterMap::header() const {
  return *reinterpret_cast<Header*>(memory_);
}

Result<ClusterMap> ClusterMap::create(std::span<std::byte> memory, const MapGeometry& geometry) {
  if (memory.size() < geometry.map_bytes() || reinterpret_cast<std::uintptr_t>(memory.data()) % 8 != 0) {
    return fail(ExitCode::Param, "map memory is too small or not aligned");
  }
  ClusterMap map(memory, geometry);
  new (memory.data())
      Header{kMagic, geometry.clusters, geometry.cluster_bytes, geometry.levels, geometry.top_level, 0, 0};
  // A successor must not take the zeros below for a finished map. It looks when this process is dead, so what
  // counts is the order in which the compiler puts the stores.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memset(memory.data() + kHeaderBytes, 0, geometry.map_bytes() - kHeaderBytes);
  return map;
}

std::uint64_t ClusterMap::layout() {
  return kMagic;
}

bool ClusterMap::worth_adopting(std::span<const std::byte> memory) {
  if (memory.size() < sizeof(Header)) return false;
  Header header{};
  std::memcpy(&header, memory.data(), sizeof header);
  if (header.magic == 0) return false;                    // new memory
  return header.magic != kMagic || header.finished != 0;  // a foreign map is for adopt() to refuse
}

void ClusterMap::finish() {
  std::atomic_ref(header().finished).store(1, std::memory_order_release);
}
void ClusterMap::abandon() {
  std::atomic_ref(header().finished).store(0, std::memory_order_release);
}

void ClusterMap::set_levels(std::uint32_t levels, std::uint32_t top_level) {
  geometry_.levels = levels;
  geometry_.top_level = top_level;
  header().levels = levels;
  header().top_level = top_level;
}

Result<ClusterMap> ClusterMap::adopt(std::span<std::byte> memory, const MapGeometry& geometry,
                                     std::span<const std::uint64_t> file_clusters) {
  if (memory.size() < geometry.map_bytes() || reinterpret_cast<std::uintptr_t>(memory.data()) % 8 != 0) {
    return fail(ExitCode::Format, "the map left by the previous daemon has the wrong size");
  }
  ClusterMap map(memory, geometry);
  const Header& h = map.header();
  if (h.magic != kMagic || h.clusters != geometry.clusters || h.cluster_bytes != geometry.cluster_bytes ||
      h.levels != geometry.levels || h.top_level != geometry.top_level) {
    return fail(ExitCode::Format,
                "the map left by the previous daemon belongs to another device or version (" +
                    std::to_string(h.levels) + " levels, " + std::to_string(h.top_level) + " written, " +
                    std::to_string(h.clusters) + " clusters; expected " + std::to_string(geometry.levels) +
                    ", " + std::to_string(geometry.top_level) + ", " + std::to_string(geometry.clusters) +
                    ")");
  }
  TRY(map.verify(file_clusters));
  return map;
}

Status ClusterMap::verify(std::span<const std::uint64_t> file_clusters) const {
  std::vector<bool> used(file_clusters[geometry_.top_level]);
  for (std::uint64_t n = 0; n < geometry_.clusters; ++n) {
    const Entry e = get(n);
    if (!e.mapped()) {
      if (e.bits() == 0) continue;
      return fail(ExitCode::Format, "impossible map entry for cluster " + std::to_string(n));
    }
    const bool sound =
        e.level() < file_clusters.size() && e.cluster() < file_clusters[e.level()] &&
        (!e.partial() || (e.record() < geometry_.partial_records() && record(e.record()).in_use() &&
                          record(e.record()).guest_cluster() == n));
    const bool top = sound && e.level() == geometry_.top_level;
    if (!sound || (top && used[e.cluster()])) {
      return fail(ExitCode::Format, "impossible map entry for cluster " + std::to_string(n));
    }
    if (top) used[e.cluster()] = true;
  }
  return {};
}

PartialRecord ClusterMap::record(std::uint16_t index) const {
  std::byte* first = memory_ + kHeaderBytes + geometry_.clusters * 8;
  return {first + index * geometry_.record_bytes(), geometry_.sectors_per_cluster()};
}

bool ClusterMap::failed() const {
  return header().failed != 0;
}
void ClusterMap::set_failed() {
  header().failed = 1;
}

}  // namespace ploop::engine
