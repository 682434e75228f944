// `ploop [GLOBAL OPTIONS] COMMAND [ARGUMENTS]`: global options, choice of the command, help about the whole.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/commands.hpp"

namespace ploop::cli {

/// What stands in front of the command.
struct GlobalOptions {
  int verbosity = kDefaultVerbosity;
  bool help = false;
  bool version = false;
  std::string bad;          ///< an option that does not exist
  std::size_t command = 0;  ///< index of the command in the words; their number when there is none
};

/// -v adds one, -vv two and so on, -vN sets (N may be negative); from left to right.
GlobalOptions parse_global(const Words& words);

/// The program was started as "ploop-balloon", which is `ploop balloon`.
bool is_balloon_program(std::string_view program);

/// Everything: `words` is argv without the program's name. The exit status.
ExitCode run_program_line(Console& console, const Words& words);

}  // namespace ploop::cli
