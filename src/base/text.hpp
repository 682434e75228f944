// Reading numbers and sizes as users and descriptors write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ploop {

/// C integer syntax with base detection (0x.., leading 0 octal), the entire text; no sign except "+".
std::optional<std::uint64_t> parse_c_integer(std::string_view text);

/// NUMBER[KkMmGgTt] as `-s` takes it: no suffix means sectors, a suffix means 2^10..2^40 bytes. The result is
/// in sectors; nothing when the text is malformed or the value does not fit into 64 bits.
std::optional<std::uint64_t> parse_size_in_sectors(std::string_view text);

std::string_view trim(std::string_view text);

/// "1.5 GiB" for people.
std::string human_size(std::uint64_t bytes);

}  // namespace ploop
