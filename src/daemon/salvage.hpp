// What the guardian does for the data of a device whose worker died: everything that was acknowledged is in
// the image's file, but the newest part of the map is in shared memory only. A process of its own takes that
// map over, commits it and closes the images, as the worker would have.
#pragma once

#include <cstddef>
#include <optional>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "daemon/file_source.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {

/// Commits the map in `map` to the images of `spec` and closes them. Waits for the dead worker's last I/O
/// first, but not for a level that a command has been `lent` and locked. Fails with the errors of
/// open_images() and engine::Device; the images then are as a power cut would have left them.
Status salvage(io::UringRing& ring, FileSource& files, const control::AttachSpec& spec, const Fd& map,
               std::optional<std::size_t> lent);

/// The same in a child process, in the sandbox, since it reads images; waits for its end. ExitCode::System
/// when it failed; its own message is in the log.
Status salvage_in_child(const control::AttachSpec& spec, LevelFiles& levels, const Fd& map,
                        std::optional<std::size_t> lent);

}  // namespace ploop::daemon
