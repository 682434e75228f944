#include "control/json.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace ploop::control {
namespace {

tl::unexpected<Error> bad_field(const char* name, const char* wanted) {
  return fail(ExitCode::Protocol, std::string("\"") + name + "\" is missing or not " + wanted);
}

/// A string that json can write is exactly a UTF-8 one.
bool is_utf8(std::string_view bytes) {
  const std::string quoted = Json(std::string(bytes)).dump(-1, ' ', false, Json::error_handler_t::ignore);
  const Json back = Json::parse(quoted, nullptr, false);
  return back.is_string() && back.get_ref<const std::string&>() == bytes;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::size_t nesting_depth(std::string_view text) {
  std::size_t depth = 0;
  std::size_t deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

Result<Json> parse_object(std::string_view text, std::string_view what) {
  const auto malformed = [&](const char* why) {
    return fail(ExitCode::Protocol, std::string(what) + ": " + why);
  };
  if (nesting_depth(text) > kMaxJsonDepth) return malformed("nested too deeply");
  std::vector<std::set<std::string>> names;
  bool repeated = false;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key && !names.back().insert(parsed.get<std::string>()).second)
      repeated = true;
    return true;
  };
  Json value = Json::parse(text, watch, false);
  if (value.is_discarded() || !value.is_object()) return malformed("not a JSON object");
  if (repeated) return malformed("a name appears twice");
  return value;
}

std::string to_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json bytes_to_json(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return Json{{"hex", hex}};
}

Result<std::string> bytes_from_json(const Json& value, std::string_view what) {
  const auto malformed = [&] { return fail(ExitCode::Protocol, std::string(what) + " is not a file name"); };
  std::string bytes;
  if (value.is_string()) {
    bytes = value.get<std::string>();
  } else {
    if (!value.is_object() || value.size() != 1 || !value.contains("hex") || !value["hex"].is_string())
      return malformed();
    const auto hex = value["hex"].get<std::string>();
    if (hex.size() % 2 != 0) return malformed();
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      const int high = hex_value(hex[i]);
      const int low = hex_value(hex[i + 1]);
      if (high < 0 || low < 0) return malformed();
      bytes += static_cast<char>(high * 16 + low);
    }
  }
  if (bytes.find('\0') != std::string::npos) return malformed();
  return bytes;
}

Status only_fields(const Json& object, std::initializer_list<std::string_view> allowed,
                   std::string_view what) {
  for (const auto& item : object.items()) {
    if (std::find(allowed.begin(), allowed.end(), item.key()) == allowed.end()) {
      return fail(ExitCode::Protocol, std::string(what) + ": unknown field \"" + item.key() + "\"");
    }
  }
  return {};
}

Result<std::string> string_field(const Json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_string()) return bad_field(name, "a text");
  return it->get<std::string>();
}

Result<bool> bool_field(const Json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_boolean()) return bad_field(name, "true or false");
  return it->get<bool>();
}

Result<std::vector<std::string>> strings_field(const Json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_array()) return bad_field(name, "a list");
  std::vector<std::string> strings;
  for (const Json& item : *it) {
    if (!item.is_string()) return bad_field(name, "a list of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

Result<std::int64_t> signed_field(const Json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number_integer()) return bad_field(name, "a whole number");
  if (it->is_number_unsigned() && !std::in_range<std::int64_t>(it->get<std::uint64_t>())) {
    return bad_field(name, "a number of a sensible size");
  }
  return it->get<std::int64_t>();
}

Result<std::uint64_t> unsigned_field(const Json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_number_unsigned()) return bad_field(name, "a whole number of 0 or more");
  return it->get<std::uint64_t>();
}

}  // namespace ploop::control
