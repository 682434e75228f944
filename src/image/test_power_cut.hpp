// What a power cut can leave of a recorded file: all that was written before the last barrier, of the rest
// any sectors in any order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "io/recording_file.hpp"

namespace ploop::image::testing {

/// With `random` given the operation may be lost, in part or altogether.
inline void apply(io::MemoryFile& file, const io::Recorded& op, std::mt19937_64* random) {
  if (op.result < 0 && random == nullptr) return;
  if (random != nullptr && (*random)() % 3 == 0) return;
  if (op.kind == io::OpKind::Truncate) file.truncate(op.length);
  if (op.kind == io::OpKind::Punch) file.punch(op.offset, op.length);
  if (op.kind == io::OpKind::Allocate) file.allocate(op.offset, op.length);
  if (op.kind != io::OpKind::Write && op.kind != io::OpKind::Clone) return;
  const bool whole = random == nullptr || (*random)() % 2 == 0;
  for (std::uint64_t done = 0; done < op.data.size();) {
    const std::uint64_t at = op.offset + done;
    const std::uint64_t part = std::min<std::uint64_t>(kSectorSize - at % kSectorSize, op.data.size() - done);
    if (whole || (*random)() % 2 == 0) file.write(std::span(op.data).subspan(done, part), at);
    done += part;
  }
}

/// The file after a cut just before log entry `cut`. An odd seed shuffles what was not yet durable.
inline std::unique_ptr<io::MemoryFile> after_cut(const io::MemoryFile& before,
                                                 const std::vector<io::Recorded>& log, std::size_t cut,
                                                 std::uint64_t seed) {
  std::size_t durable = cut;
  while (durable > 0 && log[durable - 1].kind != io::OpKind::Sync)
    --durable;
  auto file = std::make_unique<io::MemoryFile>(before);
  for (std::size_t i = 0; i < durable; ++i)
    apply(*file, log[i], nullptr);
  std::mt19937_64 random(seed);
  std::vector<std::size_t> pending;
  for (std::size_t i = durable; i < cut; ++i)
    pending.push_back(i);
  if (seed % 2 == 1) std::shuffle(pending.begin(), pending.end(), random);
  for (const std::size_t i : pending)
    apply(*file, log[i], &random);
  return file;
}

}  // namespace ploop::image::testing
