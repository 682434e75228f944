// Judging one crash state: it opens without repair, every sector is a legal value, the table is sound; and
// deeper, it can be attached, written, closed and read again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "oracle.hpp"
#include "shape.hpp"

namespace ploop::crash {

/// What the guest would read: one generation per sector; kAlien where the bytes are no legal stamp at all.
struct View {
  std::vector<Generation> sectors;
};

/// Reads the state through the top's table, independently of image::Stack. "" or what is wrong.
std::string read_state(const Disk& disk, const Content& state, bool must_be_closed, View* view);

/// Every sector against the oracle. "" or the first violation.
std::string compare(const Oracle& oracle, const View& view);

/// image::scan_image: no finding may be an error (leaks are no errors). With `clean` nothing may be found at
/// all except holes.
std::string scan_state(const Disk& disk, const Content& state, bool clean);

/// Reads through image::Stack, then attaches an engine device, reads, writes and zeroes something, flushes,
/// closes, and checks that exactly that changed. "" or what is wrong.
std::string use_state(const Disk& disk, const Content& state, const View& view, std::uint64_t seed);

/// True when `qemu-img` is there and the disk has one that it can open (single delta).
bool qemu_available();
/// `qemu-img check` and `convert` of the state as the only delta; leaks and the unclean mark are allowed. ""
/// or what is wrong.
std::string qemu_state(const Disk& disk, const Content& state, const View& view);

}  // namespace ploop::crash
