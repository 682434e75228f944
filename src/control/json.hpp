// JSON for this folder and the daemon: bounded parsing that never throws, and typed access to fields. Not
// included by any public header.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"

namespace ploop::control {

using Json = nlohmann::json;

inline constexpr std::size_t kMaxJsonDepth = 8;

/// Deepest nesting of brackets outside strings; malformed text gives some number.
std::size_t nesting_depth(std::string_view text);

/// Parses an object. `what` names it in errors (ExitCode::Protocol). Nesting above kMaxJsonDepth and names
/// that appear twice are refused.
Result<Json> parse_object(std::string_view text, std::string_view what);

/// One line, with bytes that are not UTF-8 replaced, so that it never fails.
std::string to_line(const Json& value);

/// File names are bytes. A name that is UTF-8 is a string; any other is {"hex": "..."}.
Json bytes_to_json(std::string_view bytes);
Result<std::string> bytes_from_json(const Json& value, std::string_view what);

/// Refuses fields that are not in the list.
Status only_fields(const Json& object, std::initializer_list<std::string_view> allowed,
                   std::string_view what);

Result<std::string> string_field(const Json& object, const char* name);
Result<bool> bool_field(const Json& object, const char* name);
/// A list of strings, all of them short.
Result<std::vector<std::string>> strings_field(const Json& object, const char* name);
Result<std::int64_t> signed_field(const Json& object, const char* name);
Result<std::uint64_t> unsigned_field(const Json& object, const char* name);

/// The list of images inside specs and states.
Json deltas_to_json(const std::vector<DeltaSpec>& deltas);
Result<std::vector<DeltaSpec>> deltas_from_json(const Json& object);

/// Which files the images of a list are, beside it: a list of pairs [device, inode] in a member of its own,
/// which is there only when all of them are known. Readers that do not know the member find the images by
/// name.
void add_files(Json& object, const std::vector<DeltaSpec>& deltas);
Status read_files(const Json& object, std::vector<DeltaSpec>& deltas);
Json file_to_json(const FileId& file);
Result<FileId> file_from_json(const Json& value);

/// A field that fits into T.
template <std::integral T>
Result<T> number_field(const Json& object, const char* name) {
  const std::int64_t value = TRY(signed_field(object, name));
  if (!std::in_range<T>(value))
    return fail(ExitCode::Protocol, std::string("\"") + name + "\" is out of range");
  return static_cast<T>(value);
}

}  // namespace ploop::control
