// A file that somebody else owns: a delta wants to own its file, and a test wants to see what became of it.
#pragma once

#include "io/forwarding_file.hpp"

namespace ploop::image::testing {

using Borrowed = io::ForwardingFile<>;

}  // namespace ploop::image::testing
