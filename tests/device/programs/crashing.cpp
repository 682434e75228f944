// A ploopd whose workers take over, serve for a moment and crash.
#include <signal.h>
#include <sys/time.h>

#include <cstdlib>
#include <string_view>

#include "daemon/program.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "worker") {
    ::signal(SIGALRM, [](int) { std::abort(); });
    const itimerval soon{{0, 0}, {1, 0}};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
  }
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION "-crashing");
}
