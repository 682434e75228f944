// Talking to a running device through its control socket; the protocol is docs/control-protocol.md.
#pragma once

#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/device_state.hpp"

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

  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

 private:
  explicit Client(Fd socket) : socket_(std::move(socket)) {}
  /// Sends one request and gives the text of "result".
  Result<std::string> call(const std::string& method);

  Fd socket_;
  std::uint64_t next_id_ = 1;
  std::chrono::milliseconds timeout_{60000};
};

}  // namespace ploop::control
