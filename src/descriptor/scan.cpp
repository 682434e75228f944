#include "descriptor/scan.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "descriptor/xml.hpp"

namespace ploop::descriptor {
namespace {

tl::unexpected<Error> refuse(const char* what) {
  return fail(ExitCode::Lock, what);
}

Result<Encoding> declared_encoding(std::string_view xml) {
  if (xml.starts_with("\xef\xbb\xbf")) xml.remove_prefix(3);
  if (!xml.starts_with("<?xml")) return Encoding::Utf8;
  std::string prolog(xml.substr(0, xml.find("?>")));
  std::transform(prolog.begin(), prolog.end(), prolog.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::size_t at = prolog.find("encoding");
  if (at == std::string::npos) return Encoding::Utf8;
  at = prolog.find_first_of("\"'", at);
  if (at == std::string::npos) return refuse("the encoding is malformed");
  const std::string name = prolog.substr(at + 1, prolog.find(prolog[at], at + 1) - at - 1);
  if (name == "utf-8" || name == "us-ascii" || name == "ascii") return Encoding::Utf8;
  if (name == "iso-8859-1" || name == "latin1") return Encoding::Latin1;
  return refuse("the encoding is not supported");
}

bool is_known_reference(std::string_view rest) {
  static constexpr std::array<std::string_view, 5> kEntities = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
  if (rest.starts_with("&#")) return true;
  return std::any_of(kEntities.begin(), kEntities.end(),
                     [&](std::string_view e) { return rest.starts_with(e); });
}

/// The part of the document behind a construct that ends with `end`; npos when it never ends.
std::size_t skip_to(std::string_view xml, std::size_t from, std::string_view end) {
  const std::size_t at = xml.find(end, from);
  return at == std::string_view::npos ? at : at + end.size();
}

struct Scanner {
  std::string_view xml;
  std::size_t at = 0;
  std::size_t tags = 0;
  std::size_t attributes = 0;

  /// From "<" behind the matching ">"; quotes are honoured.
  Status tag() {
    char quote = 0;
    for (++at; at < xml.size(); ++at) {
      const char c = xml[at];
      if (c == '<') return refuse("a tag inside a tag");
      if (c == '&' && !is_known_reference(xml.substr(at))) return refuse("entities are not allowed");
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
        if (++attributes > kMaxNodes) return refuse("too many attributes");
      } else if (c == '>') {
        ++at;
        return {};
      }
    }
    return refuse("it ends inside a tag");
  }

  Status markup() {
    const std::string_view rest = xml.substr(at);
    if (++tags > 2 * kMaxNodes) return refuse("too many elements");
    std::size_t next = 0;
    if (rest.starts_with("<!--")) {
      next = skip_to(xml, at + 4, "-->");
    } else if (rest.starts_with("<![CDATA[")) {
      next = skip_to(xml, at + 9, "]]>");
    } else if (rest.starts_with("<?")) {
      next = skip_to(xml, at + 2, "?>");
    } else if (rest.starts_with("<!")) {
      return refuse("document type definitions are not allowed");
    } else {
      return tag();
    }
    if (next == std::string_view::npos) return refuse("it ends inside a comment or section");
    at = next;
    return {};
  }
};

}  // namespace

Result<Encoding> scan_document(std::string_view xml) {
  if (xml.empty()) return refuse("the file is empty");
  if (xml.size() > kMaxFileBytes) return refuse("the file is too large");
  if (xml.find('\0') != std::string_view::npos) return refuse("it contains NUL bytes");
  const Encoding encoding = TRY(declared_encoding(xml));
  Scanner scanner{xml};
  while (scanner.at < xml.size()) {
    const char c = xml[scanner.at];
    if (c == '<') {
      TRY(scanner.markup());
    } else if (c == '&' && !is_known_reference(xml.substr(scanner.at))) {
      return refuse("entities are not allowed");
    } else {
      ++scanner.at;
    }
  }
  return encoding;
}

}  // namespace ploop::descriptor
