// Running other programs: fixed search list, clean descriptors, no shell.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace ploop {

struct RunOptions {
  std::string input;             ///< fed to stdin; stdin is /dev/null when empty
  bool capture = true;           ///< collect stdout and stderr instead of inheriting them
  std::size_t limit = 1 << 20;   ///< most bytes collected; the rest is dropped
};

struct RunResult {
  int status = 0;      ///< exit status, or 128 + signal
  std::string output;  ///< stdout and stderr, in order of arrival
};

/// Absolute path of a program, looked up in /sbin /bin /usr/sbin /usr/bin /usr/local/sbin /usr/local/bin only.
Result<std::string> find_program(const std::string& name);

/// Runs argv[0] (a name or an absolute path) and waits. A program that ran and failed is a RunResult with a status;
/// an Error (ExitCode::System) means that it could not be run. Logs "Running: ..." at LogLevel::Command.
Result<RunResult> run_program(const std::vector<std::string>& argv, const RunOptions& options = {});

/// Runs it and turns a non-zero status into an Error of `code` that quotes the last line of its output.
Result<std::string> run_checked(const std::vector<std::string>& argv, ExitCode code, const RunOptions& options = {});

}  // namespace ploop
