// Starting and stopping a device from a command.
#pragma once

#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/device_state.hpp"

namespace ploop::control {

/// The ploopd program: $PLOOP_LIBEXEC/ploopd, else beside the running executable, in ../libexec/ploop of it,
/// or in the installed place. ExitCode::System when there is none.
Result<std::string> find_daemon();

/// Ties a device to the command that started it: without keep() the device ends by itself, as soon as nobody
/// has it open, when this is destroyed or the process dies. So a killed command leaves no device behind.
class Lifeline {
 public:
  Lifeline() = default;
  explicit Lifeline(Fd socket) : socket_(std::move(socket)) {}
  /// From here on the device lives until it is detached. ExitCode::System when the daemon is gone.
  Status keep();

 private:
  Fd socket_;
};

struct Attachment {
  DeviceState state;
  Lifeline lifeline;
};

/// A transport of "auto" is the one that $PLOOP_TRANSPORT names, if it does.
///
/// Starts a daemon and waits until the block device answers (at most 60 s). The error is the daemon's own:
/// ExitCode::Mount "Image X already used by device /dev/ploopN" for a busy image, ExitCode::Device when no
/// number is free, ExitCode::Open, ExitCode::Format, ExitCode::InUse and so on for images. Device nodes are
/// not made here; the daemon removes them (/dev/ploopN and partitions) when it ends.
Result<Attachment> attach_device(const AttachSpec& spec);

struct DetachOptions {
  /// How long to wait for the last flush and the end of the daemon.
  std::chrono::milliseconds timeout{60000};
};

/// Flushes, closes the images, removes the block device and its nodes, and waits until the daemon is gone.
/// While somebody has the device or a partition open nothing is torn down: ExitCode::DeviceIoctl, sys_errno
/// EBUSY; the caller may retry. ExitCode::Fsync or ExitCode::Write when the device is gone but the last flush
/// failed. A device whose worker is dead is cleared away; that is success.
Status detach_device(const DeviceState& state, const DetachOptions& options = {});

}  // namespace ploop::control
