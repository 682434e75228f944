// A ploopd that believes that it can take over, and whose workers end before they serve.
#include <string_view>

#include "daemon/program.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "worker") return 1;
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION "-dying");
}
