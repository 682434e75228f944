// Holding a mounted file system frozen for a short time, safely: a guard process does the freezing and undoes
// it when the command asks, dies, or takes too long. Nobody is left with a file system that hangs for ever.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::fs {

/// How long a guard keeps a file system frozen when nobody thaws it.
inline constexpr std::chrono::seconds kFreezeLimit{30};

/// A frozen file system. Everything that was written before is on its device; writers wait until the thaw.
/// Destruction thaws.
class Freeze {
 public:
  /// Flushes and freezes the file system that the open directory lies on; `name` is for messages.
  /// ExitCode::Busy when somebody else froze it, ExitCode::System when it can't be frozen (not supported, no
  /// permission).
  static Result<Freeze> hold(int directory, const std::string& name,
                             std::chrono::milliseconds limit = kFreezeLimit);
  Freeze(Freeze&& other) noexcept;
  Freeze& operator=(Freeze&&) = delete;
  ~Freeze();

  /// Lets writers go on. ExitCode::Busy when the limit had passed before: then the file system was not frozen
  /// all the time, and what relied on it must be done again. May be called once; later calls do nothing.
  Status thaw();

 private:
  Freeze(std::string name, pid_t guard, Fd channel);
  std::string name_;
  pid_t guard_ = -1;  ///< our child; -1 when it is over
  Fd channel_;        ///< the guard thaws when this closes
};

}  // namespace ploop::fs
