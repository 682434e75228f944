// `copy -s DEVICE`: the sending end. Copies the top's image file of a running device while the file system on
// it is in use.
//
//   full pass      the file from its beginning to its end, under the write tracker
//   live rounds    what was written meanwhile, again and again, until a round takes next to no time
//   sync           the receiver makes its part durable, so that it need not while everybody waits
//   stop command   whatever the caller wants to have happened before the file system stands still
//   frozen         syncfs, freeze, flush of the device, the last rounds, the header without its in-use mark;
//                  stopping the tracker proves that everything was read after its last change; thaw
//   end            the rest on its way, then the end packet (or the name of the file)
//
// The copy exists only when all of that went well. The file system is thawed whatever happens, kill -9
// included (fs::Freeze); the tracker ends with the control connection.
#pragma once

#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "ops/copy_sink.hpp"

namespace ploop::ops {

struct CopySendOptions {
  std::string device;  ///< /dev/ploopN or its partition
  CopySinkOptions sink;
  std::string stop_command;   ///< run through the shell before freezing; "" for none
  ProgressCallback progress;  ///< of the full pass
};

/// ExitCode::Param (descriptors), Create (the file exists), Device (no such device), Open (nothing mounted
/// from it), Busy (another maintenance operation), DeviceIoctl (the device refuses or is gone), Read, Write,
/// System (the stop command failed; can't freeze; cancelled), Protocol and Fsync (feedback; syncfs), Loop
/// (still written to while frozen).
Status copy_send(const CopySendOptions& options);

}  // namespace ploop::ops
