// Talking to a running device through its control socket; the protocol is docs/control-protocol.md.
#pragma once

#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/device_state.hpp"
#include "control/track_messages.hpp"

namespace ploop::control {

/// One connection. Calls are answered in order; each waits at most `timeout` (ExitCode::System, ETIMEDOUT). Errors of
/// the device come back with their own exit code.
class Client {
 public:
  static Result<Client> connect(int device_number);

  Status ping();
  Result<DeviceState> info();
  Result<DeviceStats> stats();
  /// Everything written before is durable when this returns.
  Status flush();
  /// See detach_device(), which also waits for the end of the daemon.
  Status detach();

  /// The write tracker on the top's file, see engine/tracker.hpp and docs/control-protocol.md. It belongs to this connection: when
  /// that closes, tracking ends. ExitCode::Busy while another maintenance operation runs; Param when it is not on.
  Result<TrackStart> track_start();
  /// Writes below this position of the file are recorded from now on; 0 starts all over.
  Status track_set(std::uint64_t position);
  Result<TrackBatch> track_read();
  /// ExitCode::Busy as long as something has to be read again: it stays on.
  Status track_stop();
  Status track_abort();

  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

 private:
  explicit Client(Fd socket) : socket_(std::move(socket)) {}
  /// Sends one request and gives the text of "result".
  Result<std::string> call(const std::string& method, const std::string& params = "{}");

  Fd socket_;
  std::uint64_t next_id_ = 1;
  std::chrono::milliseconds timeout_{60000};
};

}  // namespace ploop::control
