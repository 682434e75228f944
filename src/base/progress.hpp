// How far a long operation is. Operations take a ProgressCallback in their options and call it between pieces
// of work; they neither know nor care who listens. The command line draws it (cli/progress_meter.hpp).
#pragma once

#include <cstdint>
#include <functional>

namespace ploop {

/// Bytes done, bytes in total (0: not known). Called as often as it suits the operation, from the thread that
/// runs it, with numbers that do not fall (except where an operation has several passes: each begins anew);
/// an operation that continues an interrupted one begins with what is done already. Must be cheap and must
/// not fail. May be empty.
using ProgressCallback = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Calls `progress` if there is one.
inline void report_progress(const ProgressCallback& progress, std::uint64_t done, std::uint64_t total) {
  if (progress) progress(done, total);
}

}  // namespace ploop
