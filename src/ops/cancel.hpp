// Ending a command early. A signal only asks; the command looks at the request between its steps, undoes what
// it did and fails. While nothing would have to be undone, main may simply end the process: that is what
// CleanupSection tells it.
#pragma once

#include "base/result.hpp"

namespace ploop::ops {

/// Asks the running operation to stop. Any thread.
void request_cancel();
[[nodiscard]] bool cancel_requested();

/// An error once somebody asked to stop: ExitCode::System "cancelled".
Status stop_if_cancelled();

/// While one exists the process must not be ended from outside: there is something to undo or to finish.
class CleanupSection {
 public:
  CleanupSection();
  CleanupSection(const CleanupSection&) = delete;
  CleanupSection& operator=(const CleanupSection&) = delete;
  ~CleanupSection();
};
[[nodiscard]] bool in_cleanup_section();

}  // namespace ploop::ops
