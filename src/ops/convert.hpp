// `convert`: another format (expanded, preallocated, raw) for a disk of one image, or another version for all
// images of a disk. A conversion that is interrupted is finished or undone by the next command; see
// recover.hpp.
#pragma once

#include <optional>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "format/header.hpp"
#include "image/create.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {

/// Exactly one of format and version.
struct ConvertRequest {
  std::string descriptor;
  std::optional<image::CreateFormat> format;
  std::optional<format::Version> version;
  ProgressCallback progress = {};
};

/// ExitCode::Param when it is refused: snapshots (format), a device that runs, a raw image, a size that the
/// version can't have (version); Open for an image that is in use or was not closed; else the code of the
/// step. Nothing was changed then.
Status convert(const ConvertRequest& request);

Result<Outcome> finish_convert(Interrupted& work);

/// The parts, under the descriptor's lock.
Status convert_format(descriptor::Locked& locked, image::CreateFormat format,
                      const ProgressCallback& progress);
Status convert_version(descriptor::Locked& locked, format::Version version);
Result<Outcome> finish_convert_format(Interrupted& work);
Result<Outcome> finish_convert_version(Interrupted& work);

/// A version conversion that the original tools did not finish: no note, but images that say so and the
/// copies of their tables beside them (IMAGE.idx). They are put back. Logs one line; nothing to do when no
/// image says so.
Status restore_versions(const descriptor::Disk& disk);

}  // namespace ploop::ops
