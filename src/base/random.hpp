// Randomness from the kernel, for names and identifiers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace ploop {

std::uint64_t random_u64();
/// `length` characters of [0-9a-z].
std::string random_name(std::size_t length);

}  // namespace ploop
