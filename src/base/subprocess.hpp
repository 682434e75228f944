// Running other programs: fixed search list, clean descriptors, no shell.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.hpp"

namespace ploop {

struct RunOptions {
  std::string input;            ///< fed to stdin; stdin is /dev/null when empty
  bool capture = true;          ///< collect stdout and stderr instead of inheriting them
  std::size_t limit = 1 << 20;  ///< most bytes collected; the rest is dropped
};

struct RunResult {
  int status = 0;      ///< exit status, or 128 + signal
  std::string output;  ///< stdout and stderr, in order of arrival
};

/// An ignored SIGCHLD is inherited through exec, and then no child can be waited for: undoes it. To be called
/// once, when a program of ours that has children starts.
void expect_children();

/// Waits for the end of a child of this process; gives the status that waitpid(2) gives, -1 when it is no
/// child.
int wait_for_child(pid_t pid);

/// Absolute path of a program, looked up in /sbin /bin /usr/sbin /usr/bin /usr/local/sbin /usr/local/bin
/// only.
Result<std::string> find_program(const std::string& name);

/// Runs argv[0] (a name or an absolute path) and waits. A program that ran and failed is a RunResult with a
/// status; an Error (ExitCode::System) means that it could not be run. Logs "Running: ..." at
/// LogLevel::Command.
Result<RunResult> run_program(const std::vector<std::string>& argv, const RunOptions& options = {});

/// Runs it and turns a non-zero status into an Error of `code` that quotes the last line of its output.
Result<std::string> run_checked(const std::vector<std::string>& argv, ExitCode code,
                                const RunOptions& options = {});

}  // namespace ploop
