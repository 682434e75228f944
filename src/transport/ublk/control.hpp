// Commands to /dev/ublk-control: the life of ublk devices as the kernel knows them, by their kernel number.
// For the keeper; some of these wait for a server of the device, which the process that serves must therefore
// not call.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "io/command_ring.hpp"
#include "transport/ublk/uapi.hpp"

namespace ploop::transport::ublk {

class Control {
 public:
  /// ExitCode::Device when the kernel has no ublk, or none that this program can use: the message says what
  /// is missing.
  static Result<Control> open();

  /// Flags as the kernel offers them.
  [[nodiscard]] std::uint64_t features() const { return features_; }
  [[nodiscard]] bool has(std::uint64_t wanted) const { return (features_ & wanted) == wanted; }

  /// `wanted` comes back as the kernel made it: number, queues, flags. ExitCode::Device.
  Result<DeviceInfo> add(const DeviceInfo& wanted);
  Status set_params(std::uint32_t id, const Params& params);
  /// Waits until the server has fetched for all tags. `opener` is the process that opened the server's file.
  Status start(std::uint32_t id, int opener);
  /// The disk goes, whoever uses it; the server's commands end. Waits for requests that a living server works
  /// on.
  Status stop(std::uint32_t id);
  /// The same if nobody has the disk open, else false. Needs kFeatureSafeStop.
  Result<bool> try_stop(std::uint32_t id);
  /// The device goes with the last descriptor of its files, a mount being one. False: it has not within this
  /// time; nothing has to be repeated. May be asked again, by other processes as well.
  Result<bool> remove(std::uint32_t id, std::chrono::milliseconds patience);
  /// After the death of a server: false as long as something of it is left.
  Result<bool> start_recovery(std::uint32_t id);
  /// Waits for a new server, at most this long; false: there is none yet.
  Result<bool> end_recovery(std::uint32_t id, int opener, std::chrono::milliseconds patience);
  Status update_size(std::uint32_t id, std::uint64_t sectors);
  /// ExitCode::Device, ENODEV when there is no such device.
  Result<DeviceInfo> info(std::uint32_t id);

 private:
  Control(Fd file, std::unique_ptr<io::CommandRing> ring) : file_(std::move(file)), ring_(std::move(ring)) {}
  int run(std::uint32_t opcode, const ControlBody& body, std::chrono::milliseconds patience);

  Fd file_;
  std::unique_ptr<io::CommandRing> ring_;
  std::uint64_t features_ = 0;
};

/// Numbers of the ublk devices that exist, by sysfs.
std::vector<std::uint32_t> device_ids();

/// Stops and removes the device whose server_flags are `token`, if there is one: whoever uses it gets I/O
/// errors. For what a dead keeper left. `number` is the kernel's number of it, where that is known: a removed
/// device that somebody still uses is found by its number only. False: somebody does. ExitCode::Device,
/// DeviceIoctl.
Result<bool> remove_by_token(std::uint64_t token, std::optional<std::uint32_t> number);

}  // namespace ploop::transport::ublk
