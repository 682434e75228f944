// Values of options as users write them, with the historical messages for wrong ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.hpp"

namespace ploop::cli {

/// NUMBER[KMGT], sectors without a suffix; 0 is left to the command.
Parsed<std::uint64_t> parse_size(const CommandText& command, char option, const std::string& text);
/// With or without braces; the result has them.
Parsed<std::string> parse_uuid_option(const std::string& text);
/// Cluster size in sectors: a power of two, 64 to 131072. 0 and "" mean the default: nothing.
Parsed<std::optional<std::uint32_t>> parse_blocksize(const CommandText& command, const std::string& text);

/// The single operand of commands that take a descriptor and nothing else.
Parsed<std::string> one_descriptor(const CommandText& command, const std::vector<std::string>& operands);

/// "1" or "2", as a number.
Parsed<int> parse_version(const CommandText& command, const std::string& text);

enum class FormatWord { Raw, Ploop1, Preallocated };
Parsed<FormatWord> parse_format(const CommandText& command, const std::string& text);

}  // namespace ploop::cli
