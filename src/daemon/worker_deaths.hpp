// How often a worker may be replaced. Workers that others kill are replaced as long as each gets to serve for
// a moment; one that falls over the same request each time has to be given up within bounded time, or those
// who wait for that request would wait for ever.
#pragma once

#include <chrono>
#include <optional>

namespace ploop::daemon {

class WorkerDeaths {
 public:
  enum class Cause {
    Killed,   ///< SIGKILL: somebody's command, or the kernel for want of memory
    Crashed,  ///< any other end: the program's own doing
  };

  /// A worker ended `lived` after it began to serve (0: it never did). How long to wait before the next one
  /// is started; nothing: no more workers.
  std::optional<std::chrono::milliseconds> died(Cause cause, std::chrono::milliseconds lived);

 private:
  unsigned quick_ = 0;    ///< in a row that hardly served
  unsigned crashed_ = 0;  ///< since one served for long
  unsigned killed_ = 0;   ///< since one served for long
};

}  // namespace ploop::daemon
