// Running a program and looking at what it did.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace ploop::test {

struct ProcessOptions {
  std::string directory{};                           ///< where it runs; "" stays here
  std::map<std::string, std::string> environment{};  ///< added to ours
  std::string stdin_file{};                          ///< "" is /dev/null
  std::vector<int> closed{};                         ///< descriptors it starts without
  int signal = 0;                                    ///< sent to it after `signal_after`; 0 sends none
  std::chrono::milliseconds signal_after{0};
};

struct ProcessResult {
  int status = 0;  ///< exit status, or 128 + signal
  std::string out;
  std::string err;
};

/// Runs argv[0] (a path) and waits.
ProcessResult run(const std::vector<std::string>& argv, const ProcessOptions& options = {});

}  // namespace ploop::test
