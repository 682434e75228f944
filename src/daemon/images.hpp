// The images of a device, opened and locked in the order of the attach order.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "daemon/channel.hpp"
#include "daemon/file_source.hpp"
#include "engine/device.hpp"
#include "image/delta.hpp"

namespace ploop::daemon {

/// What to do about an image that somebody else has locked.
enum class Locked {
  Refuse,  ///< after two seconds
  /// Its user was just killed: until the last operation that it had in flight has ended, these keep its open
  /// files, and so its locks, alive. Waits for that, at most a minute.
  Wait,
};

/// Base first. Every image is locked before anything of it is read: exclusively what will be written, shared
/// what is below. ExitCode::Mount for an image that is locked by somebody else; the errors of `files`, io and
/// image otherwise. The top of a writable device may be marked in use (its writer died; the lock says that it
/// is gone), lower ones may not. `lent` is a level that a command has borrowed from a dead worker, with its
/// lock: it is opened without one.
Result<std::vector<image::Delta>> open_images(FileSource& files, const control::AttachSpec& spec,
                                              Locked locked = Locked::Refuse,
                                              std::optional<std::size_t> lent = std::nullopt);

/// The level that a message "lent" names.
Result<std::size_t> lent_level(const Message& message);

/// One of them.
Result<image::Delta> open_image(FileSource& files, const control::DeltaSpec& delta,
                                std::uint32_t raw_cluster_sectors, FileRole role = FileRole::Level);

}  // namespace ploop::daemon
