// The write tracker behind the control socket: track_start, track_set, track_read, track_stop, track_abort.
// It belongs to the connection that started it: when that closes, a copy has died, and tracking ends.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "control/server.hpp"
#include "engine/device.hpp"

namespace ploop::daemon {

/// Lives beside the device, on the ring's thread.
class Tracking {
 public:
  explicit Tracking(engine::Device& device) : device_(device) {}

  static bool handles(std::string_view method) { return method.starts_with("track_"); }
  /// Text of the result. ExitCode::Busy for a second copy, or when something is left at track_stop; Param
  /// when the connection did not start tracking; Protocol for a request that makes no sense.
  Result<std::string> run(const control::Call& call);
  void connection_closed(std::uint64_t connection);

 private:
  Result<std::string> start(std::uint64_t connection);
  Result<std::string> read();
  [[nodiscard]] Status owned_by(std::uint64_t connection) const;

  engine::Device& device_;
  std::uint64_t owner_ = 0;  ///< connection; only meaningful while the tracker is on
};

}  // namespace ploop::daemon
