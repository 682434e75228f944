// Bytes of a DiskDescriptor.xml to a Disk and back. Hostile input: no DTD, no entities, bounded size, depth
// and number of nodes; everything is validated before a Disk exists.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "descriptor/model.hpp"

namespace ploop::descriptor {

inline constexpr std::size_t kMaxFileBytes = std::size_t{8} << 20;
inline constexpr std::size_t kMaxNodes = 100000;  ///< the same limit holds for attributes
inline constexpr int kMaxDepth = 16;

/// `directory`: canonical directory of the descriptor, which relative names start from.
/// Every failure is ExitCode::Lock: the historical status of locking commands for an unreadable descriptor
/// (`snapshot-list` turns all its errors into 1).
Result<Disk> parse(std::string_view xml, const std::string& directory);

/// The document in the historical layout: two spaces per level, one newline at the end, names of images
/// inside the directory relative to it.
std::string serialize(const Disk& disk);

}  // namespace ploop::descriptor
