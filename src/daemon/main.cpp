// ploopd: serves one device.
#include "daemon/program.hpp"

int main(int argc, char** argv) {
  return ploop::daemon::run_program(argc, argv, PLOOP_VERSION);
}
