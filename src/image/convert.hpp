// Changing what kind of image a file is.
//
// The version changes in place: the complete new head of the file (header and table) is made first, kept by
// the caller in a side file, and then copied over the old one. Copying can be repeated as often as it takes,
// so a power cut in the middle is no harm as long as the side file is there; meanwhile the header says that a
// conversion is in progress.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "image/delta.hpp"
#include "image/grow.hpp"

namespace ploop::image {

/// The file's header clusters as they are to be in the other version, closed. `delta` is a closed ploop1
/// image. ExitCode::Param when the version can't express the size or a cluster's place ("Unable to convert
/// image to ...").
Result<std::vector<std::byte>> converted_head(const Delta& delta, format::Version version);

/// Is this the head of a conversion of the file, as converted_head() made it? The head is not trusted.
/// ExitCode::Format.
Status check_head(io::BlockFile& file, std::span<const std::byte> head);

/// Marks the file as being converted; durable.
Status mark_converting(io::BlockFile& file);

/// Copies the head over that of the file: mark, table, barrier, header, barrier. Can be repeated.
Status apply_head(io::BlockFile& file, std::span<const std::byte> head);

struct PreallocateOptions {
  std::function<bool()> cancelled = {};
  ProgressCallback progress = {};  ///< bytes of new clusters
};

/// Gives every guest cluster that has none its place in the file, reserved and reading as zeros: not for a
/// delta that has others below. Closed cleanly afterwards. ExitCode::Fallocate without room: what was done
/// stays and is no harm.
Status preallocate_image(Delta& delta, const PreallocateOptions& options = {});

}  // namespace ploop::image
