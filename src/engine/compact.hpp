// What a compaction of the top's file is asked and answers. See compact.cpp.
#pragma once

#include <coroutine>
#include <cstdint>
#include <type_traits>

#include "io/ring.hpp"

namespace ploop::engine {

class Core;

struct CompactResult {
  int result = 0;           ///< 0 or -errno; what was moved and cut before an error counts all the same
  std::uint64_t moved = 0;  ///< clusters
  std::uint64_t cut = 0;    ///< clusters that the file lost, unused ones at its end included
  std::uint64_t left = 0;   ///< clusters by which it could become shorter still
};

struct CompactProgress {
  std::uint64_t done = 0;   ///< clusters moved
  std::uint64_t total = 0;  ///< clusters to move, as it looked at the start
};

/// Result of `co_await device.compact(...)`. Lives in the awaiting coroutine's frame.
struct CompactAwaiter : io::ResumeOnCompletion {
  CompactAwaiter(Core& c, std::uint64_t most) : core(&c), most_clusters(most) { finished = &resume; }
  Core* core;
  std::uint64_t most_clusters;
  CompactResult done;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h);
  [[nodiscard]] CompactResult await_resume() const noexcept { return done; }
};
static_assert(std::is_trivially_destructible_v<CompactAwaiter>);

}  // namespace ploop::engine
