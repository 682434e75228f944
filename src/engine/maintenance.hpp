// At most one maintenance operation runs on a device at a time; this is the one.
#pragma once

#include <cstdint>
#include <string_view>

namespace ploop::engine {

enum class Maintenance : std::uint8_t { None, Snapshot, Merge, Chain, Grow, Relocate, Track, Upgrade };

/// The words that `ploop balloon status` has always printed, where there is one.
constexpr std::string_view maintenance_name(Maintenance m) {
  switch (m) {
    case Maintenance::None:
      return "OFF";
    case Maintenance::Snapshot:
      return "SNAPSHOT";
    case Maintenance::Merge:
      return "MERGE";
    case Maintenance::Chain:
      return "REPLACE";
    case Maintenance::Grow:
      return "GROW";
    case Maintenance::Relocate:
      return "RELOC";
    case Maintenance::Track:
      return "TRACK";
    case Maintenance::Upgrade:
      return "UPGRADE";
  }
  return "OFF";
}

}  // namespace ploop::engine
