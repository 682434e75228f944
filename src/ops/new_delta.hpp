// A new, empty delta for a disk: named, sized like another image, logged, durable.
#pragma once

#include <string>

#include "base/result.hpp"
#include "descriptor/model.hpp"
#include "format/header.hpp"

namespace ploop::ops {

/// Size, cluster size and version that a delta above the node's image needs. Of a raw image: its length,
/// version 2. Logs "Opening delta". ExitCode::Open when the header can't be read, as always here.
Result<format::Header> shape_above(const descriptor::Disk& disk, const std::string& uuid);

/// Logs "Creating delta FILE bs=... size=... sectors vN" and makes it. ExitCode::Create; ExitCode::Param when
/// it exists.
Result<format::Header> create_delta(const std::string& file, const format::Header& shape);

}  // namespace ploop::ops
