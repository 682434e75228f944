// Which file it is, whatever names it has: hard links, bind mounts and renames do not matter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ploop {

/// Unique among the files that exist. The number of a file that is gone may be given to another one, so
/// whoever relies on it keeps the file open.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileId&) const = default;
};

/// Of the file or directory at `path`, symbolic links followed. Nothing when it can't be found, with errno.
std::optional<FileId> file_id(const std::string& path);
/// Of an open one.
std::optional<FileId> file_id(int fd);

}  // namespace ploop
