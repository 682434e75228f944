// SIGINT, SIGTERM and SIGHUP: a command that has something to undo is asked to stop, and the program it waits
// for is ended; any other command ends at once, as if the signal had not been caught.
#pragma once

#include "cli/console.hpp"

namespace ploop::cli {

/// Called once by main before any other thread. The console must live as long as the process.
void watch_signals(const Console& console);

}  // namespace ploop::cli
