// Making a new image. The bytes are those of the original tools: header, table, zeros up to a whole cluster,
// and for a preallocated image every slot filled in order. A new image is complete and durable, its directory
// entry included, before create_image() returns, and nothing is left behind when it fails.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "format/header.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

enum class CreateFormat : std::uint8_t {
  Expanded,      ///< clusters are added when they are first written
  Preallocated,  ///< same bytes on disk, but every guest cluster has its place from the start
  Raw,           ///< no header; space for the whole disk is reserved
};

struct CreateOptions {
  CreateFormat format = CreateFormat::Expanded;
  format::Version version = format::Version::V2;  ///< ignored for raw
  std::uint64_t size_sectors = 0;                 ///< rounded up to a whole cluster
  std::uint32_t cluster_sectors = format::kDefaultClusterSectors;
  /// Asked between steps and between pieces of work; true ends the creation with ExitCode::Create.
  std::function<bool()> cancelled = {};
  ProgressCallback progress = {};
};

struct CreateResult {
  /// What was written; for raw made up: version V2, no header clusters.
  format::Header header;
  /// One line for the user, empty when there is nothing to say (for example: space could not be reserved).
  std::string warning;
};

/// Creates `path` (which must not exist), mode 0600, and makes file and directory entry durable.
/// ExitCode::Param when the file exists or the options are wrong, ExitCode::Create otherwise; the file is
/// removed then.
Result<CreateResult> create_image(const std::string& path, const CreateOptions& options);

/// The part of create_image() that writes: `file` is new and empty; it is synced at the end, never removed.
Result<CreateResult> write_new_image(io::BlockFile& file, const CreateOptions& options);

}  // namespace ploop::image
