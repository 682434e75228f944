// Answers as JSON for programs. The names of the fields are an interface: docs/json.md lists them, and they
// only ever get more. Not for headers of other folders.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ploop::cli {

/// Fields stay in the order in which they were added.
using Json = nlohmann::ordered_json;

/// File names are bytes: a string when they are UTF-8, else {"hex": "..."}.
Json name_json(std::string_view bytes);
/// The same, with null for an empty name.
Json name_or_null(std::string_view bytes);
Json names_json(const std::vector<std::string>& names);

/// The text to print: indented, with a newline.
std::string json_text(const Json& value);

}  // namespace ploop::cli
