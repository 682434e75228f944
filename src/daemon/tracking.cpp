#include "daemon/tracking.hpp"

#include <sys/stat.h>

#include <array>

#include "base/log.hpp"
#include "control/track_messages.hpp"

namespace ploop::daemon {

Status Tracking::owned_by(std::uint64_t connection) const {
  if (device_.tracker().active() && owner_ == connection) return {};
  return fail(ExitCode::Param, "This connection does not track writes");
}

Result<std::string> Tracking::start(std::uint64_t connection) {
  struct stat st {};
  control::TrackStart answer;
  answer.used_bytes = TRY(device_.top_used_bytes());
  if (file_status(device_.top_file()->native_handle(), st) != 0)
    return fail_errno(ExitCode::Stat, "look at the top image");
  TRY(device_.track_start());
  owner_ = connection;
  answer.granularity = device_.tracker().granularity();
  answer.file_device = st.st_dev;
  answer.file_inode = st.st_ino;
  return control::encode_track_start(answer);
}

Result<std::string> Tracking::read() {
  std::array<engine::FileExtent, control::kMaxTrackExtents> extents;
  const engine::Tracker::Batch batch = TRY(device_.track_read(extents));
  control::TrackBatch answer;
  for (std::size_t i = 0; i < batch.count; ++i)
    answer.extents.push_back({extents[i].start, extents[i].end});
  answer.dirty_bytes = device_.tracker().dirty_bytes();
  answer.used_bytes = TRY(device_.top_used_bytes());
  answer.round_complete = batch.round_complete;
  return control::encode_track_batch(answer);
}

Result<std::string> Tracking::run(const control::Call& call) {
  const std::string& method = call.request.method;
  if (method == "track_start") return start(call.connection);
  TRY(owned_by(call.connection));
  if (method == "track_read") return read();
  if (method == "track_set") {
    const std::uint64_t position = TRY(control::decode_track_set(call.request.params));
    TRY(device_.track_set(position));
  } else if (method == "track_stop") {
    TRY(device_.track_stop());
  } else if (method == "track_abort") {
    device_.track_abort();
  } else {
    return fail(ExitCode::Protocol, "Unknown method " + method);
  }
  return std::string("{}");
}

void Tracking::connection_closed(std::uint64_t connection) {
  if (!owned_by(connection)) return;
  log(LogLevel::Progress, "a copy ended without stopping the write tracker; it is off");
  device_.track_abort();
}

}  // namespace ploop::daemon
