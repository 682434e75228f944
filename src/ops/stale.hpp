// What is left of devices whose daemon is gone without having taken them down: said, and cleared away.
// Nothing of it has data that could be saved: every access to such a device is an error. `list` and `mount`
// clean what nobody uses and name the rest, `umount` takes away file systems as well.
#pragma once

#include <functional>
#include <string>

#include "base/result.hpp"
#include "control/device_state.hpp"

namespace ploop::ops {

/// Removes nodes and directories of dead devices and logs one warning for each, and for each mount point with
/// the file system of a dead device, with what to do about it. Who may not clean up gets warnings only.
/// Failures are not worth stopping for, so there are none.
void clean_up_dead_devices();

/// Takes away what is mounted at `directory` as long as it is the file system of a device of ours that died;
/// it could give nothing but errors. True when there was one. Processes that still use it keep it until they
/// end. ExitCode::Umount.
Result<bool> clear_dead_mount(const std::string& directory);

/// The same for all mounts of the dead device that `name` means (as device_by_name()), and the rest of it.
/// True when there was something.
Result<bool> clear_dead_device(const std::string& name);

/// The same for the dead devices that are wanted.
Result<bool> clear_dead_disk(const std::function<bool(const control::DeviceState&)>& is_wanted);

}  // namespace ploop::ops
