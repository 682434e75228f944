// ploop, the command line: sets up messages and signals, then hands over to program.cpp.
#include <fcntl.h>
#include <unistd.h>

#include "base/subprocess.hpp"
#include "cli/mount_helper.hpp"
#include "cli/program.hpp"
#include "cli/signals.hpp"

namespace {

/// A program started without them must not have an image end up as descriptor 1.
void ensure_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) ::_exit(12);
  }
}

}  // namespace

int main(int argc, char** argv) {
  ensure_standard_descriptors();
  ploop::expect_children();
  // Lives until the process ends: the thread that watches signals uses it.
  static ploop::cli::Console console;
  ploop::set_log_sink([](ploop::LogLevel level, const std::string& line) { console.message(level, line); });
  ploop::cli::watch_signals(console);
  ploop::cli::Words words(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (const auto status = ploop::cli::run_as_helper(console, argc > 0 ? argv[0] : "", words)) return *status;
  if (argc > 0 && ploop::cli::is_balloon_program(argv[0])) words.insert(words.begin(), "balloon");
  return static_cast<int>(ploop::cli::run_program_line(console, words));
}
