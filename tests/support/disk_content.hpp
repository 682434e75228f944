// The content of a disk's nodes, written and read without a device: through the descriptor and the image
// layer.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "descriptor/model.hpp"

namespace ploop::test {

/// One byte per guest cluster, which stands for a whole cluster of it; 0 for zeros.
using Content = std::map<std::uint64_t, std::uint8_t>;

/// Fills a guest cluster of a closed image: in place, or in a new cluster at the end. Any damage fails the
/// test (exception).
void put_cluster(const std::string& image, std::uint64_t guest, std::uint8_t value);

/// What the node shows: the clusters that are not zeros. An unreadable chain or a cluster that is not all one
/// byte is an exception.
Content content_of(const descriptor::Disk& disk, const std::string& uuid);

}  // namespace ploop::test
