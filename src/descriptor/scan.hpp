// A first pass over the bytes of a document, before any parser allocates memory for it.
#pragma once

#include <string_view>

#include "base/result.hpp"

namespace ploop::descriptor {

enum class Encoding { Utf8, Latin1 };

/// Refuses what has no place in a descriptor: nothing at all, too much, NUL bytes, other encodings, a DTD,
/// entities other than the five of XML, a "<" inside a tag, too many tags or attributes. ExitCode::Lock.
Result<Encoding> scan_document(std::string_view xml);

}  // namespace ploop::descriptor
