#include "descriptor/kept.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ploop::descriptor {
namespace {

constexpr std::string_view kBlank = " \t\r\n";

bool is_text(const pugi::xml_node& node) {
  return node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata;
}

bool has_text(const pugi::xml_node& element) {
  return std::any_of(element.begin(), element.end(),
                     [](const pugi::xml_node& child) { return is_text(child); });
}

void append_content(std::string& out, const pugi::xml_node& element);

void append_start(std::string& out, const pugi::xml_node& element) {
  out += '<';
  out += element.name();
  append_attributes(out, element);
}

void append_end(std::string& out, const pugi::xml_node& element) {
  out += "</";
  out += element.name();
  out += '>';
}

void append_content(std::string& out, const pugi::xml_node& element) {
  std::string run;
  for (const pugi::xml_node& child : element) {
    if (is_text(child)) run += child.value();
    if (child.type() != pugi::node_element) continue;
    out += escape_xml(run);
    run.clear();
    append_compact(out, child);
  }
  out += escape_xml(run);
}

void append_element(std::string& out, const pugi::xml_node& element, int level) {
  out.append(static_cast<std::size_t>(level) * 2, ' ');
  if (!element.first_child() || has_text(element)) {
    append_compact(out, element);
    out += '\n';
    return;
  }
  append_start(out, element);
  out += ">\n";
  for (const pugi::xml_node& child : element)
    append_element(out, child, level + 1);
  out.append(static_cast<std::size_t>(level) * 2, ' ');
  append_end(out, element);
  out += '\n';
}

}  // namespace

std::string escape_xml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (!text.empty() && text.find_first_not_of(kBlank) == std::string_view::npos) {
    out = fmt::format("&#{};", static_cast<int>(text.front()));
    text.remove_prefix(1);
  }
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') {
          out += fmt::format("&#{};", static_cast<int>(c));
        } else {
          out += c;
        }
    }
  }
  return out;
}

void append_attributes(std::string& out, const pugi::xml_node& element) {
  for (const pugi::xml_attribute& attribute : element.attributes()) {
    out += ' ';
    out += attribute.name();
    out += "=\"";
    for (const char c : escape_xml(attribute.value())) {
      if (c == '"') {
        out += "&quot;";
      } else if (c == '\n' || c == '\t') {
        out += fmt::format("&#{};", static_cast<int>(c));
      } else {
        out += c;
      }
    }
    out += '"';
  }
}

void append_compact(std::string& out, const pugi::xml_node& element) {
  append_start(out, element);
  std::string content;
  append_content(content, element);
  if (content.empty()) {
    out += "/>";
    return;
  }
  out += '>';
  out += content;
  append_end(out, element);
}

void append_indented(std::string& out, std::string_view kept, int level) {
  pugi::xml_document document;
  document.load_buffer(kept.data(), kept.size(), pugi::parse_default | pugi::parse_fragment,
                       pugi::encoding_utf8);
  for (const pugi::xml_node& element : document)
    append_element(out, element, level);
}

}  // namespace ploop::descriptor
