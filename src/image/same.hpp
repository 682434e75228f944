// Are two image files the same image? For putting one in the place of the other.
#pragma once

#include <functional>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

/// Equal length and, for ploop1, an equal header, in-use mark aside. ExitCode::Format: "Images A and B are of
/// different size" or "... are not identical".
Status same_shape(io::BlockFile& a, io::BlockFile& b, bool raw);

struct CompareOptions {
  bool raw = false;
  std::function<bool()> cancelled = {};
  ProgressCallback progress = {};  ///< bytes of guest clusters
};

/// Every guest cluster is there in both or in neither, with the same content; where it lies in the file does
/// not matter. A cluster that is missing is not the same as one of zeros: below it there may be data. Needs
/// same_shape(). ExitCode::Format naming the first difference, Read, System when cancelled.
Status same_content(io::BlockFile& a, io::BlockFile& b, const CompareOptions& options = {});

}  // namespace ploop::image
