// The program ploopd: what its arguments mean. Apart from main() so that tests can build programs with other
// versions and manners.
#pragma once

namespace ploop::daemon {

/// `version` is what the program calls itself. The result is the exit status.
int run_program(int argc, char** argv, const char* version);

}  // namespace ploop::daemon
