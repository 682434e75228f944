// A ploopd that believes that it can take over, and whose workers end before they serve; with a file named in
// PLOOP_TEST_DIES_WITH only from the moment on in which that is there.
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "daemon/program.hpp"

int main(int argc, char** argv) {
  const char* const sign = std::getenv("PLOOP_TEST_DIES_WITH");
  const bool dies = sign == nullptr || ::access(sign, F_OK) == 0;
  if (argc > 1 && std::string_view(argv[1]) == "worker" && dies) return 1;
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION "-dying");
}
