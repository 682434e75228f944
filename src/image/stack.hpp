// A stack of deltas: base at level 0, top last. The top's size is the size of the device; a guest cluster is
// found in the highest delta that has it, and reads as zeros when none has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/units.hpp"
#include "image/delta.hpp"

namespace ploop::image {

inline constexpr std::size_t kMaxLevels = 128;

/// Where a guest cluster's data is. 8 bytes, so that the merged map of a disk is an array of these.
struct Location {
  static constexpr std::uint16_t kNowhere = 0xFFFF;
  std::uint32_t cluster = 0;  ///< cluster of that level's file; for a raw base the guest cluster's own number
  std::uint16_t level = kNowhere;  ///< kNowhere: no level has it, it reads as zeros
  std::uint16_t reserved = 0;
  [[nodiscard]] bool present() const { return level != kNowhere; }
  bool operator==(const Location&) const = default;
};
static_assert(sizeof(Location) == 8);

/// Owns its deltas. Movable. Reading only: nothing here changes a file.
class Stack {
 public:
  /// `deltas` from base to top. ExitCode::Format when they don't fit together: different cluster sizes or
  /// versions, a raw image that is not the base, a top smaller than another delta, a size that is
  /// not a multiple of the cluster in a stack of several. ExitCode::Param when there are none or more than
  /// kMaxLevels.
  static Result<Stack> make(std::vector<Delta> deltas);

  [[nodiscard]] std::size_t levels() const { return deltas_.size(); }
  [[nodiscard]] Delta& delta(std::size_t level) { return deltas_[level]; }
  [[nodiscard]] const Delta& delta(std::size_t level) const { return deltas_[level]; }
  [[nodiscard]] Delta& top() { return deltas_.back(); }
  [[nodiscard]] const Delta& top() const { return deltas_.back(); }
  [[nodiscard]] std::uint64_t size_sectors() const { return top().size_sectors(); }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_sectors() * kSectorSize; }
  [[nodiscard]] std::uint64_t cluster_bytes() const { return top().cluster_bytes(); }
  /// Guest clusters of the device: ceil(size / cluster).
  [[nodiscard]] std::uint64_t guest_clusters() const { return div_up(size_bytes(), cluster_bytes()); }

  [[nodiscard]] Location resolve(std::uint64_t guest_cluster) const;

  /// The merged map, guest_clusters() long. One sequential pass over each table.
  [[nodiscard]] std::vector<Location> resolve_all() const;

  /// Reads guest bytes; behind a raw base's end and where no level has data there are zeros. ExitCode::Param
  /// when the range is outside of the device, ExitCode::Read when a file fails.
  Status read(std::uint64_t offset, std::span<std::byte> data) const;

  /// Takes the deltas out, base first.
  [[nodiscard]] std::vector<Delta> release() && { return std::move(deltas_); }

 private:
  Stack() = default;
  std::vector<Delta> deltas_;
};

}  // namespace ploop::image
