// Opening a file below a directory without following any symbolic link and without leaving the directory.
// Both functions give an invalid Fd and errno on failure. `name` has no empty, "." or ".." component.
#pragma once

#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace ploop::descriptor {

/// openat2(2) where the kernel has it, else the next one.
Fd open_beneath(int directory, const std::string& name, int flags);

/// The same, one component at a time.
Fd open_beneath_walking(int directory, std::string_view name, int flags);

}  // namespace ploop::descriptor
