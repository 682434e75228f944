// Identifiers of snapshots as ploop writes them: 38 characters, braces included.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ploop {

/// Always carried by the writable top of a stack.
inline constexpr std::string_view kTopUuid = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
/// Parent of the base.
inline constexpr std::string_view kNoUuid = "{00000000-0000-0000-0000-000000000000}";

/// True for exactly {8-4-4-4-12} hexadecimal digits of either case.
bool is_uuid(std::string_view text);
/// What a user typed: with braces, or 36 characters without. The case stays as typed. Nothing when it is no
/// UUID.
std::optional<std::string> parse_uuid(std::string_view text);
/// A random (version 4) one, lower case, with braces.
std::string generate_uuid();
/// Comparison without regard to case; that is the only kind there is.
bool same_uuid(std::string_view a, std::string_view b);

}  // namespace ploop
