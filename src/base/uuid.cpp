#include "base/uuid.hpp"

#include <uuid/uuid.h>

#include <algorithm>
#include <cctype>

namespace ploop {

bool is_uuid(std::string_view text) {
  if (text.size() != 38 || text.front() != '{' || text.back() != '}') return false;
  for (std::size_t i = 1; i < 37; ++i) {
    const bool dash = i == 9 || i == 14 || i == 19 || i == 24;
    const auto c = static_cast<unsigned char>(text[i]);
    if (dash ? c != '-' : std::isxdigit(c) == 0) return false;
  }
  return true;
}

std::optional<std::string> parse_uuid(std::string_view text) {
  std::string braced(text);
  if (text.size() == 36 && text.front() != '{') braced = "{" + braced + "}";
  if (!is_uuid(braced)) return std::nullopt;
  return braced;
}

std::string generate_uuid() {
  uuid_t raw;
  uuid_generate_random(raw);
  char text[UUID_STR_LEN];
  uuid_unparse_lower(raw, text);
  return "{" + std::string(text) + "}";
}

bool same_uuid(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

}  // namespace ploop
