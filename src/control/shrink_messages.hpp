// Messages about giving space back: discarding a range of a device, making its top's file shorter.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace ploop::control {

/// A range of the device in bytes.
struct DiscardRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool dry = false;  ///< only count
  bool operator==(const DiscardRange&) const = default;
};

/// What one step of a compaction did, in clusters.
struct CompactStep {
  std::uint64_t moved = 0;
  std::uint64_t cut = 0;   ///< by which the file became shorter
  std::uint64_t left = 0;  ///< by which it could become shorter still
  std::uint64_t cluster_bytes = 0;
  bool operator==(const CompactStep&) const = default;
};

/// Texts of JSON objects. Decoding fails with ExitCode::Protocol.
std::string encode_discard(const DiscardRange& range);
Result<DiscardRange> decode_discard(std::string_view text);
std::string encode_discarded(std::uint64_t clusters);
Result<std::uint64_t> decode_discarded(std::string_view text);
std::string encode_compact(std::uint64_t most_clusters);
Result<std::uint64_t> decode_compact(std::string_view text);
std::string encode_compact_step(const CompactStep& step);
Result<CompactStep> decode_compact_step(std::string_view text);

}  // namespace ploop::control
