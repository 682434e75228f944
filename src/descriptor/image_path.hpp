// From the name of an image in a descriptor to an open file, without trusting the name. By default an image
// lies in the descriptor's directory or below it, no component is a symbolic link, and it is a regular file.
// Anything else has to be named by the user, file by file (--allow-external=PATH).
//
// Commands use open_image() for every image they read or write, and pass on the descriptor, or its path from
// image_path() to a program that must open it itself; never Image::file as it stands.
#pragma once

#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "descriptor/model.hpp"

namespace ploop::descriptor {

struct PathPolicy {
  std::vector<std::string>
      allow_external;  ///< files outside the directory that may be used, as the user wrote them
};

/// Opens the file `file` (absolute, as in Image::file or Disk::chain) of a disk whose descriptor is in
/// `directory`. `flags` as for open(2), without O_CREAT. ExitCode::Descriptor when the name is refused,
/// ExitCode::Open when it can't be opened or is no regular file.
Result<Fd> open_image(const std::string& directory, const std::string& file, int flags,
                      const PathPolicy& policy = {});

/// The canonical path of the same file after the same checks.
Result<std::string> image_path(const std::string& directory, const std::string& file,
                               const PathPolicy& policy = {});

/// The checked paths of a chain, base first.
Result<std::vector<std::string>> image_paths(const Disk& disk, const std::vector<std::string>& files,
                                             const PathPolicy& policy = {});

}  // namespace ploop::descriptor
