// The power-cut simulator: runs a life of a disk, then goes through every moment of it and every state in
// which a power cut at that moment could have left the top's file, and judges each.
#pragma once

#include <cstdint>
#include <string>

#include "crash_states.hpp"
#include "session.hpp"

namespace ploop::crash {

struct PowerCutLimits {
  Enumeration enumeration;
  std::uint64_t most_states = ~std::uint64_t{0};  ///< of one life
  std::uint64_t from = 0;                         ///< moments before this time are passed over
  unsigned moments_percent = 100;                 ///< of the moments, chosen by the seed; the last one always
  std::uint64_t use_every = 16;                   ///< every n-th new state gets a second life
  std::uint64_t qemu_every = 0;  ///< every n-th new state of a single delta is shown to qemu-img; 0: none
};

struct PowerCutResult {
  std::uint64_t moments = 0;       ///< points of time looked at
  std::uint64_t states = 0;        ///< states built
  std::uint64_t distinct = 0;      ///< of these, with different bytes
  std::uint64_t second_lives = 0;  ///< states attached, written and closed again
  std::uint64_t qemu = 0;          ///< states shown to qemu-img
  std::string violation;           ///< "" or the first one, with everything needed to understand it
};

/// All moments of a session that has ended.
PowerCutResult power_cut(const Disk& disk, const Session& session, const PowerCutLimits& limits,
                         std::uint64_t seed);

}  // namespace ploop::crash
