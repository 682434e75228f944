// The live map: for every guest cluster, where its data is. It lies in memory that outlives the worker (a
// shared-memory file), so each change is one aligned 8-byte store and everything else is derived from it by a
// successor.
//
// Layout of the memory: one header page, the entries, the partial records.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"

namespace ploop::engine {

/// Bits: 63 mapped, 62 partial, 61 something below the top has data too, 48..59 partial record, 32..47 level,
/// 0..31 cluster of that level's file.
class Entry {
 public:
  constexpr Entry() = default;
  constexpr explicit Entry(std::uint64_t bits) : bits_(bits) {}
  static constexpr Entry at(std::uint16_t level, std::uint32_t cluster) {
    return Entry(kMapped | (std::uint64_t{level} << 32) | cluster);
  }
  [[nodiscard]] constexpr bool mapped() const { return (bits_ & kMapped) != 0; }
  [[nodiscard]] constexpr bool partial() const { return (bits_ & kPartial) != 0; }
  [[nodiscard]] constexpr bool below() const { return (bits_ & kBelow) != 0; }
  [[nodiscard]] constexpr std::uint16_t level() const { return static_cast<std::uint16_t>(bits_ >> 32); }
  [[nodiscard]] constexpr std::uint32_t cluster() const { return static_cast<std::uint32_t>(bits_); }
  [[nodiscard]] constexpr std::uint16_t record() const {
    return static_cast<std::uint16_t>((bits_ >> 48) & 0xFFF);
  }
  [[nodiscard]] constexpr Entry with_below(bool yes) const {
    return Entry(yes ? bits_ | kBelow : bits_ & ~kBelow);
  }
  [[nodiscard]] constexpr Entry as_partial(std::uint16_t record) const {
    return Entry(bits_ | kPartial | (std::uint64_t{record} << 48));
  }
  [[nodiscard]] constexpr Entry as_complete() const {
    return Entry(bits_ & ~(kPartial | (std::uint64_t{0xFFF} << 48)));
  }
  [[nodiscard]] constexpr std::uint64_t bits() const { return bits_; }
  friend constexpr bool operator==(Entry, Entry) = default;

 private:
  static constexpr std::uint64_t kMapped = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kPartial = std::uint64_t{1} << 62;
  static constexpr std::uint64_t kBelow = std::uint64_t{1} << 61;
  std::uint64_t bits_ = 0;
};

inline constexpr std::uint16_t kMaxPartialRecords = 256;

struct MapGeometry {
  std::uint64_t clusters = 0;  ///< guest clusters
  std::uint64_t cluster_bytes = 0;
  std::uint32_t levels = 0;
  std::uint32_t top_level =
      0;  ///< the level that is written; the last, or the last but one while a merge drains the last
  bool operator==(const MapGeometry&) const = default;

  [[nodiscard]] std::uint32_t sectors_per_cluster() const {
    return static_cast<std::uint32_t>(cluster_bytes / 512);
  }
  /// How many clusters may be partial at a time: fewer when their sector bitmaps are large.
  [[nodiscard]] std::uint16_t partial_records() const;
  [[nodiscard]] std::uint64_t record_bytes() const;
  [[nodiscard]] std::uint64_t map_bytes() const;
};

/// Which sectors of a partial cluster are in the top; the others are still at `lower`. A view into the map
/// memory.
class PartialRecord {
 public:
  PartialRecord(std::byte* memory, std::uint32_t sectors)
      : words_(reinterpret_cast<std::uint64_t*>(memory)), sectors_(sectors) {}
  [[nodiscard]] bool in_use() const { return words_[0] != 0; }
  [[nodiscard]] std::uint64_t guest_cluster() const { return words_[0] - 1; }
  [[nodiscard]] Entry lower() const { return Entry(words_[1]); }
  void take(std::uint64_t guest_cluster, Entry lower);
  void set_lower(Entry lower) { words_[1] = lower.bits(); }
  void release() { words_[0] = 0; }

  [[nodiscard]] bool present(std::uint32_t sector) const {
    return (bitmap()[sector / 64] >> (sector % 64) & 1) != 0;
  }
  void set_present(std::uint32_t first, std::uint32_t count);
  [[nodiscard]] bool all_present() const;
  [[nodiscard]] bool none_present() const;
  /// Length of the run of sectors from `first` that are all present or all absent, at most `limit`.
  [[nodiscard]] std::uint32_t run(std::uint32_t first, std::uint32_t limit) const;

 private:
  [[nodiscard]] std::uint64_t* bitmap() const { return words_ + 2; }
  std::uint64_t* words_;
  std::uint32_t sectors_;
};

class ClusterMap {
 public:
  ClusterMap() = default;
  /// Formats memory of geometry.map_bytes() bytes. The map counts as unfinished until finish() is called.
  /// ExitCode::Param when it is too small or unaligned.
  static Result<ClusterMap> create(std::span<std::byte> memory, const MapGeometry& geometry);
  /// Takes over what another process left. ExitCode::Format when it was made for something else or holds an
  /// impossible entry: level or cluster out of range (`file_clusters` per level), or a top cluster used
  /// twice.
  static Result<ClusterMap> adopt(std::span<std::byte> memory, const MapGeometry& geometry,
                                  std::span<const std::uint64_t> file_clusters);

  /// Names the layout of the memory: another number, another layout.
  static std::uint64_t layout();
  /// False: the table on disk says everything that this memory says, or more (the map was being built, or
  /// nothing happened since its content was made durable); a successor builds its own. Any memory may be
  /// asked.
  [[nodiscard]] static bool worth_adopting(std::span<const std::byte> memory);
  /// From here on a successor has to adopt the map.
  void finish();
  /// From here on, until finish(), a successor has to build its own map from disk.
  void abandon();
  /// The levels behind `levels` are gone; no entry may refer to them.
  void set_levels(std::uint32_t levels, std::uint32_t top_level);

  [[nodiscard]] const MapGeometry& geometry() const { return geometry_; }
  [[nodiscard]] Entry get(std::uint64_t cluster) const {
    return Entry(std::atomic_ref<std::uint64_t>(entries_[cluster]).load(std::memory_order_relaxed));
  }
  void set(std::uint64_t cluster, Entry entry) {
    std::atomic_ref<std::uint64_t>(entries_[cluster]).store(entry.bits(), std::memory_order_release);
  }
  [[nodiscard]] PartialRecord record(std::uint16_t index) const;

  /// The device failed for good; a successor must know.
  [[nodiscard]] bool failed() const;
  void set_failed();

 private:
  struct Header;
  ClusterMap(std::span<std::byte> memory, const MapGeometry& geometry);
  [[nodiscard]] Status verify(std::span<const std::uint64_t> file_clusters) const;
  [[nodiscard]] Header& header() const;
  std::byte* memory_ = nullptr;
  MapGeometry geometry_;
  std::uint64_t* entries_ = nullptr;
};

}  // namespace ploop::engine
