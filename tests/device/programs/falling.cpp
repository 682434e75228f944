// A ploopd that believes that it can take over, and crashes as soon as it is to be the guardian.
#include <cstdlib>
#include <string_view>

#include "daemon/program.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "resume") std::abort();
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION "-falling");
}
