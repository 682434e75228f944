#include "cli/values.hpp"

#include <fmt/format.h>

#include <bit>

#include "base/text.hpp"
#include "base/uuid.hpp"

namespace ploop::cli {
namespace {

constexpr std::uint64_t kSizeBound = 0xffffffffull * 512;
constexpr std::uint64_t kMinBlocksize = 64;
constexpr std::uint64_t kMaxBlocksize = 131072;

/// A negative number wraps in C and so was "too large"; it stays that.
bool is_negative(std::string_view text) {
  text = trim(text);
  return text.starts_with('-') && parse_size_in_sectors(text.substr(1)).has_value();
}

}  // namespace

Parsed<std::uint64_t> parse_size(const CommandText& command, char option, const std::string& text) {
  const std::optional<std::uint64_t> sectors = parse_size_in_sectors(text);
  if ((sectors && *sectors >= kSizeBound) || is_negative(text)) {
    return usage_error(command, fmt::format("ERROR: Too large value for option -{}: {}", option, text));
  }
  if (!sectors)
    return usage_error(command, fmt::format("ERROR: Invalid argument for option -{}: {}", option, text));
  return *sectors;
}

Parsed<std::string> parse_uuid_option(const std::string& text) {
  if (auto uuid = parse_uuid(text)) return *std::move(uuid);
  return value_error(fmt::format("Incorrect uuid specified: {}", text));
}

Parsed<std::optional<std::uint32_t>> parse_blocksize(const CommandText& command, const std::string& text) {
  if (text.empty()) return std::optional<std::uint32_t>{};
  const std::optional<std::uint64_t> sectors = parse_c_integer(text);
  if (!sectors) return usage_error(command, fmt::format("ERROR: Invalid argument for option -b: {}", text));
  if (*sectors == 0) return std::optional<std::uint32_t>{};
  if (!std::has_single_bit(*sectors) || *sectors < kMinBlocksize || *sectors > kMaxBlocksize) {
    return value_error(fmt::format("Incorrect blocksize specified: {} (a power of two from {} to {} sectors)",
                                   text, kMinBlocksize, kMaxBlocksize));
  }
  return static_cast<std::uint32_t>(*sectors);
}

Parsed<std::string> one_descriptor(const CommandText& command, const std::vector<std::string>& operands) {
  if (operands.size() == 1) return operands.front();
  return usage_error(command,
                     operands.empty() ? "The descriptor is missing" : "There must be one descriptor only");
}

Parsed<int> parse_version(const CommandText& command, const std::string& text) {
  if (text == "1" || text == "2") return text.front() - '0';
  return usage_error(command, fmt::format("Invalid -v argument: {}", text));
}

Parsed<FormatWord> parse_format(const CommandText& command, const std::string& text) {
  if (text == "raw") return FormatWord::Raw;
  if (text == "ploop1" || text == "expanded") return FormatWord::Ploop1;
  if (text == "preallocated") return FormatWord::Preallocated;
  return usage_error(command, fmt::format("Bad -f argument: {}", text));
}

}  // namespace ploop::cli
