// One error type for the whole program: the exit status chosen where the failure happened, the errno behind
// it and a text that grows context on its way up. Data-path code does not use it: there a result is bytes or
// -errno.
#pragma once

#include <string>
#include <string_view>

#include "base/exit_code.hpp"

namespace ploop {

struct [[nodiscard]] Error {
  ExitCode code = ExitCode::System;
  int sys_errno = 0;  ///< 0 when no system call failed
  std::string what;   ///< one line, without the text of sys_errno and without a final stop

  /// The same error with "CONTEXT: " in front of its text. The code set first stays.
  Error with_context(std::string_view context) &&;

  /// The line shown to people: the text, then ": " and the description of sys_errno when there is one.
  [[nodiscard]] std::string message() const;
};

/// An error with the current (or given) errno.
Error errno_error(ExitCode code, std::string what);
Error errno_error(ExitCode code, int sys_errno, std::string what);

}  // namespace ploop
