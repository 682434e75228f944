// The balloon file: a root-only file in the root of the inner file system that later holds space back when a
// disk shrinks. It is made first of all files, because other software expects it at inode 12.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/units.hpp"

namespace ploop::fs {

inline constexpr std::string_view kBalloonName = ".balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8";

/// Creates the empty file (root, 0600) in a mounted file system and makes it durable; one that exists is an
/// error. Logs "Creating balloon file NAME". ExitCode::Create.
Status create_balloon(const std::string& mount_point);

struct Balloon {
  ino_t inode = 0;
  Bytes size;
};

/// The balloon of a mounted file system, or nothing when there is none. Something of that name that is not a
/// regular file is an error (ExitCode::Param); ExitCode::Stat.
Result<std::optional<Balloon>> find_balloon(const std::string& mount_point);

}  // namespace ploop::fs
