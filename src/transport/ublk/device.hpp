// One ublk device as its keeper holds it: made, started, given to another server, resized, stopped, removed.
// The keeper neither serves it nor holds its server's file: the end of the last descriptor of that file tells
// the kernel that the server is gone.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "transport/ublk/control.hpp"
#include "transport/ublk/pump.hpp"

namespace ploop::transport::ublk {

/// What the disk is like; known when the worker has opened the images.
struct Disk {
  std::uint64_t sectors = 0;
  std::uint32_t discard_granularity = 4096;
  bool read_only = false;
};

class Device {
 public:
  /// Makes a device that nobody sees yet. `token` is given back by the kernel with the device's facts and
  /// tells ours from others'. ExitCode::Device.
  static Result<Device> add(Control control, std::uint64_t token, DataPath path);
  /// One that a keeper before us made.
  static Result<Device> find(Control control, std::uint64_t token);

  [[nodiscard]] const Geometry& geometry() const { return geometry_; }
  [[nodiscard]] std::uint32_t id() const { return id_; }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] dev_t number() const { return number_; }

  /// The server's file, which can be open once; the node appears a moment after the device. ExitCode::Device.
  Result<Fd> open_server() const;
  /// The server has fetched for all tags: makes the disk. ExitCode::Device, Sysfs.
  Status start(const Disk& disk);

  /// The disk for the exclusive use of the caller, or an invalid descriptor when it is mounted or claimed
  /// otherwise. ExitCode::Device.
  Result<Fd> claim() const;
  /// Ends the disk when nobody but the caller has it open; `claim` is the caller's, and goes. False: somebody
  /// has; nothing changed. Before kFeatureSafeStop, who opens it in this very moment gets I/O errors.
  /// ExitCode::DeviceIoctl.
  Result<bool> stop_unused(Fd claim);
  /// Ends it, whoever uses it: they get I/O errors. A server that is stopped or hangs must be dead before.
  Status stop() { return control_.stop(id_); }
  /// Removes what is left. Returns before the end of that when somebody still uses it; then the kernel does
  /// it after the last.
  Status remove();

  /// The server died: false while something of it is left, to be tried again.
  Result<bool> begin_recovery();
  /// Requests go to the new server as soon as it has fetched for all tags; false when it has not within this
  /// time.
  Result<bool> finish_recovery(std::chrono::milliseconds patience);
  /// The size of the disk as the kernel has it. ExitCode::Sysfs.
  [[nodiscard]] Result<std::uint64_t> sectors() const;
  Status resize(std::uint64_t sectors) { return control_.update_size(id_, sectors); }

 private:
  Device(Control control, const DeviceInfo& info);
  Status find_number();
  Result<bool> nobody_else() const;

  Control control_;
  std::uint32_t id_;
  Geometry geometry_;
  dev_t number_ = 0;
  int opener_;               ///< the process that opened the server's file, which the kernel wants to hear
  bool recovering_ = false;  ///< begun, and no server has been seen since
};

}  // namespace ploop::transport::ublk
