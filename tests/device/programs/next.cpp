// A ploopd of another version, for tests of `ploop upgrade`.
#include "daemon/program.hpp"

int main(int argc, char** argv) {
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION "-next");
}
