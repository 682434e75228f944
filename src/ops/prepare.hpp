// Images before they are attached: is each one readable and sound, and what a crash left behind is put right.
// Also the printing of what a check found, for everybody who checks.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "descriptor/image_path.hpp"
#include "format/header.hpp"
#include "image/check.hpp"

namespace ploop::ops {

/// Header of an image file. ExitCode::Open, Read, Format.
Result<format::Header> read_header(const std::string& path);

/// The images of a disk from the base to `uuid`, all read-only, by paths that were checked
/// (descriptor/image_path.hpp).
Result<std::vector<control::DeltaSpec>> chain_deltas(const descriptor::Disk& disk, const std::string& uuid,
                                                     const descriptor::PathPolicy& policy = {});

/// Logs what a check found, verdicts on lines of their own.
void log_report(const image::CheckReport& report);

/// Before attaching a disk by its descriptor, base first. An image that a crash left marked as in use is
/// repaired, when `writable` is set and nobody uses it; a read-only attach changes nothing. A lower image
/// that another device uses stays as it is. The error of an image that can't be repaired is "IMG :
/// irrecoverable errors (ro|rw)" with the code of the check.
Status repair_chain(const std::vector<control::DeltaSpec>& deltas, bool writable);

/// Before attaching a list of images: a marked (37) or damaged (11) image is refused, nothing is changed.
Status refuse_unsound(const std::vector<control::DeltaSpec>& deltas);

}  // namespace ploop::ops
