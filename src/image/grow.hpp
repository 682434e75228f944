// Changing the guest size of an image file in place. docs/format.md, section 10.
//
// Growing, each arrow a barrier: mark -> clusters that the longer table needs are copied to free places ->
// table pages -> their old places are zeroed -> header with the new size -> mark cleared. A power cut leaves
// the old size with some clusters moved, or the new size.
//
// Shrinking: mark -> slots behind the new end dropped -> header -> clusters at the end of the file moved into
// holes -> table pages -> file cut, mark cleared.
#pragma once

#include <cstdint>
#include <functional>

#include "base/result.hpp"
#include "image/delta.hpp"
#include "image/editor.hpp"

namespace ploop::image {

struct ResizeOptions {
  /// Asked between batches; true ends the work with ExitCode::System. What was done stays and is no harm.
  std::function<bool()> cancelled = {};
  /// Growing: called when every cluster that was in the way has its new place, durably, and before its old
  /// place is overwritten. Whoever reads the image at the same time reads the table again there.
  std::function<Status()> moved = {};
  /// Shrinking: mapped clusters behind the new end are dropped. Otherwise they are a reason to refuse.
  bool drop_mapped = false;
};

/// Makes the delta (opened writable, nobody else has it) `size_sectors` long, rounded up to a cluster. Equal:
/// it is only closed, if it was not. The delta is closed cleanly and must be opened again. ExitCode::Param
/// for a smaller size or one that the version can't have (nothing was changed then), Reloc when a cluster
/// could not be moved, Write, Fsync.
Status grow_image(Delta& delta, std::uint64_t size_sectors, const ResizeOptions& options = {});

/// The same in the middle of other work, between Editor::begin() and finish().
Status grow_table(Editor& editor, const format::Header& grown, const ResizeOptions& options);

/// The header that the image will have. ExitCode::Param as above.
Result<format::Header> grown_header(const format::Header& header, std::uint64_t size_sectors);

/// Makes the delta smaller, its file as well. ExitCode::Param for a larger size, for 0, and when mapped
/// clusters lie behind the new end and may not be dropped; nothing was changed then.
Status shrink_image(Delta& delta, std::uint64_t size_sectors, const ResizeOptions& options = {});

/// A raw image: the file gets this length, rounded up to `unit` bytes; new space reads as zeros. Durable.
Status resize_raw(io::BlockFile& file, std::uint64_t bytes, std::uint64_t unit);

}  // namespace ploop::image
