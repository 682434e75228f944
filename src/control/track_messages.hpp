// Messages of the write tracker: what `copy` and a device say to each other. Positions are bytes in the top's
// image file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace ploop::control {

/// Most extents in one answer, so that it stays well below what a connection takes.
inline constexpr std::size_t kMaxTrackExtents = 1024;

struct TrackStart {
  std::uint64_t used_bytes = 0;   ///< bytes of the file in use now
  std::uint64_t granularity = 0;  ///< bytes that are recorded together
  std::uint64_t file_device = 0;  ///< st_dev and st_ino of the file that the device writes to
  std::uint64_t file_inode = 0;
  bool operator==(const TrackStart&) const = default;
};

struct TrackExtent {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool operator==(const TrackExtent&) const = default;
};

struct TrackBatch {
  std::vector<TrackExtent> extents;  ///< written since they were handed out last, or grown
  std::uint64_t dirty_bytes = 0;     ///< recorded besides
  std::uint64_t used_bytes = 0;
  bool round_complete = false;  ///< a round without extents: nothing is left
  bool operator==(const TrackBatch&) const = default;
};

/// Texts of JSON objects. Decoding fails with ExitCode::Protocol; extents are checked to be in order and not
/// empty.
std::string encode_track_start(const TrackStart& start);
Result<TrackStart> decode_track_start(std::string_view text);
std::string encode_track_set(std::uint64_t position);
Result<std::uint64_t> decode_track_set(std::string_view text);
std::string encode_track_batch(const TrackBatch& batch);
Result<TrackBatch> decode_track_batch(std::string_view text);

}  // namespace ploop::control
