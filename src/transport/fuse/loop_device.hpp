// The kernel's loop device on top of the FUSE file. It clears itself when its last opener is gone
// (auto-clear), so whoever holds a LoopDevice keeps it alive and a crash can't leave it behind.
//
// All calls but the accessors may wait for the FUSE file to be answered; the process that answers must not
// make them.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::transport::fuse {

class LoopDevice {
 public:
  /// Takes a free loop device and puts it over `file`, with direct I/O, 512-byte sectors and a partition
  /// scan. ExitCode::Device when there is none, ExitCode::DeviceIoctl when the kernel refuses.
  static Result<LoopDevice> attach(const Fd& file, bool read_only);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint32_t major() const { return major_; }
  [[nodiscard]] std::uint32_t minor() const { return minor_; }
  /// False: the kernel keeps a second copy of the data in its page cache for this device.
  [[nodiscard]] bool direct_io() const { return direct_io_; }

  /// Writes back what buffered writers left in the page cache, and flushes. ExitCode::Fsync.
  Status flush();
  /// Asks the FUSE file for its size and takes it over. ExitCode::Stat, DeviceIoctl.
  Status take_size_of(const Fd& file);
  /// Lets go of the device. True: the kernel has cleared it. False: somebody else has it open; it is held
  /// again.
  Result<bool> release();

 private:
  LoopDevice() = default;
  [[nodiscard]] bool still_ours() const;

  Fd device_;
  std::string path_;
  std::uint32_t major_ = 0;
  std::uint32_t minor_ = 0;
  std::uint64_t file_device_ = 0;  ///< st_dev of the file: unique while the mount lives
  bool direct_io_ = false;
};

}  // namespace ploop::transport::fuse
