// Image files for offline work: opened, locked, validated.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "descriptor/model.hpp"
#include "image/delta.hpp"
#include "io/posix_file.hpp"

namespace ploop::ops {

/// Opens and locks: exclusively for writing, else shared. ExitCode::Open when a device or another command
/// holds it ("Image is in use X by device /dev/ploop0").
Result<std::unique_ptr<io::PosixFile>> open_image_file(const std::string& path, bool writable);

/// A file that is about to go away: locked exclusively, as long as the result lives, so that nobody has it,
/// not even a device that is not known here. Nothing when it is not there.
Result<std::unique_ptr<io::PosixFile>> claim_image(const descriptor::Disk& disk, const std::string& file);

/// Opened and locked like open_image_file(), and validated. An image with the in-use mark is ExitCode::Open,
/// the historical status of the commands that work on closed images; a damaged one Format.
Result<image::Delta> open_delta(const std::string& path, image::Kind kind, const image::OpenOptions& options);

}  // namespace ploop::ops
