// Running the binary under test, away from the devices of the machine.
#pragma once

#include <string>
#include <vector>

#include "support/process.hpp"
#include "support/temp_dir.hpp"

namespace ploop::test {

/// A folder to work in; runtime directory and device nodes of its own.
class Sandbox {
 public:
  [[nodiscard]] const TempDir& dir() const { return dir_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return dir_ / name; }

  /// `ploop ARGS...` in the folder.
  ProcessResult ploop(std::vector<std::string> args, ProcessOptions options = {}) const {
    args.insert(args.begin(), PLOOP_BINARY);
    if (options.directory.empty()) options.directory = dir_.path();
    options.environment.emplace("PLOOP_RUNDIR", dir_ / "run");
    options.environment.emplace("PLOOP_DEVDIR", dir_ / "dev");
    return run(args, options);
  }

 private:
  TempDir dir_;
};

}  // namespace ploop::test
