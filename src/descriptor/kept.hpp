// Elements that are not ours, as text: from a parsed tree to canonical XML and from there into a document we
// write.
#pragma once

#include <pugixml.hpp>
#include <string>
#include <string_view>

namespace ploop::descriptor {

/// `text` as content of an element: markup and control characters escaped. Text that is all blank begins with
/// a character reference, or the next reader would take it for layout.
std::string escape_xml(std::string_view text);

/// Appends ` name="value"` for every attribute.
void append_attributes(std::string& out, const pugi::xml_node& element);

/// Appends one element on a single line, comments and processing instructions left out.
void append_compact(std::string& out, const pugi::xml_node& element);

/// Appends the elements in `kept` (made by append_compact), indented by two spaces per level.
void append_indented(std::string& out, std::string_view kept, int level);

}  // namespace ploop::descriptor
