// `init`: a new disk, that is an image, a file system in it and a descriptor beside it. It appears complete
// or not at all: everything is built under a hidden temporary name, and the two names users know come last,
// the descriptor at the very end. What a killed init leaves is cleared away by the next one in the same
// directory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "fs/mkfs.hpp"
#include "image/create.hpp"

namespace ploop::ops {

struct InitOptions {
  std::string image;  ///< file to make; the descriptor goes into its directory
  std::uint64_t size_sectors = 0;
  image::CreateFormat format = image::CreateFormat::Expanded;
  format::Version version = format::Version::V2;
  std::uint32_t cluster_sectors = format::kDefaultClusterSectors;
  fs::MkfsOptions file_system;
  std::string transport = "auto";  ///< as in control::AttachSpec
  ProgressCallback progress = {};  ///< of making the image
};

/// "none", "ext3", "ext4", "xfs".
std::optional<fs::FsType> parse_file_system(std::string_view name);

/// ExitCode::Param when image or descriptor exist (both stay untouched) or a number is wrong; otherwise the
/// code of the step that failed, and nothing is left behind.
Status init(const InitOptions& options);

/// An init that was killed at its very end leaves its working name beside the image, as another link to it.
/// `image` is absolute and belongs to a disk whose descriptor is locked.
void drop_working_name(const std::string& image);

}  // namespace ploop::ops
