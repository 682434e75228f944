// The FUSE connection of one device: /dev/fuse and a mount of one regular file that is attached to no mount
// namespace, so that no name leads to it and nothing can be left behind. It lives as long as its descriptors
// and the loop device.
#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::transport::fuse {

struct Connection {
  Fd device;  ///< /dev/fuse, non-blocking; the end that answers
  Fd mount;   ///< the detached mount, whose root is the file
};

/// Opens /dev/fuse and makes the mount. The kernel's INIT waits in `device` afterwards. Does not block.
/// ExitCode::Device when /dev/fuse is missing or the kernel can't do it.
Result<Connection> open_connection();

/// Opens the file. Blocks until somebody answers on the device, so this is never done by who does.
/// ExitCode::Device.
Result<Fd> open_root_file(const Fd& mount, bool writable);

}  // namespace ploop::transport::fuse
