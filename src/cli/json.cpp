#include "cli/json.hpp"

#include <fmt/format.h>

namespace ploop::cli {
namespace {

/// A string that can be written as JSON is exactly a UTF-8 one.
bool is_utf8(std::string_view bytes) {
  const std::string kept = Json(bytes).dump(-1, ' ', false, Json::error_handler_t::ignore);
  const Json back = Json::parse(kept, nullptr, false);
  return back.is_string() && back.get_ref<const std::string&>() == bytes;
}

}  // namespace

Json name_json(std::string_view bytes) {
  if (is_utf8(bytes)) return bytes;
  std::string hex;
  for (const char c : bytes)
    hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return Json{{"hex", hex}};
}

Json name_or_null(std::string_view bytes) {
  return bytes.empty() ? Json(nullptr) : name_json(bytes);
}

Json names_json(const std::vector<std::string>& names) {
  Json list = Json::array();
  for (const std::string& name : names)
    list.push_back(name_json(name));
  return list;
}

std::string json_text(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace ploop::cli
