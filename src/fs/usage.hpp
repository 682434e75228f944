// How full the inner file system is, live or from the cache file `.statfs` beside the images, which answers
// for a disk that is not attached.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace ploop::fs {

struct Usage {
  std::uint64_t block_size = 0;  ///< bytes
  std::uint64_t blocks = 0;
  std::uint64_t free_blocks = 0;  ///< including those reserved for root
  std::uint64_t inodes = 0;
  std::uint64_t free_inodes = 0;
  friend bool operator==(const Usage&, const Usage&) = default;
};

/// Of the file system mounted at `mount_point`. ExitCode::Stat.
Result<Usage> read_usage(const std::string& mount_point);

/// Path of the cache file for a disk whose first image lies in `directory`.
std::string usage_cache_path(const std::string& directory);
/// The cached numbers; nothing when there is no cache or it makes no sense (wrong length, more free than
/// present). ExitCode::Read when a present file cannot be read.
Result<std::optional<Usage>> load_usage_cache(const std::string& directory);
/// Replaces the cache atomically (mode 0600). ExitCode::Write and those of write_file_atomic.
Status store_usage_cache(const std::string& directory, const Usage& usage);
/// Removes it; a missing one is fine. ExitCode::Unlink.
Status remove_usage_cache(const std::string& directory);

}  // namespace ploop::fs
