// The change of a running daemon's program, as the guardian keeps account of it:
//
//   ASKING     the new program is asked whether it understands what it would get; the device works on
//   REHEARSING a child becomes the new program, with everything that the guardian holds; the device works on
//   RETIRING   the worker finishes what is in progress and exits; then this process becomes the new program
//   TRIAL      in the new program: its first worker takes over. When it can't, or crashes soon, this process
//   becomes the old program
//              again, which starts a worker of its own and says why
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::daemon {

struct Upgrade {
  enum class Stage { None, Asking, Rehearsing, Retiring, Trial };
  Stage stage = Stage::None;
  std::uint64_t connection = 0;  ///< who wants it, in Admin; 0: nobody waits any more
  std::uint64_t request = 0;
  Fd program;            ///< the new one
  pid_t asked_pid = -1;  ///< Asking, Rehearsing: a process of the new program
  Fd answer;             ///< Asking, Rehearsing: what it says
  Fd previous;           ///< Trial: the old one, open for a way back; empty on that way
  std::string from;      ///< Trial: version of the program that handed over
  std::string failed;    ///< Trial on the way back: what was wrong
  std::chrono::steady_clock::time_point deadline;  ///< of the stages Retiring and Trial
};

/// How a child ended, from its wait status, in words.
std::string describe_end(int status);

/// Starts a process of `program` with --can-take-over and `text` to read; it writes to `answer` and ends by
/// itself after some seconds at the latest. Gives its pid. ExitCode::System.
Result<pid_t> ask_program(const Fd& program, const Fd& text, const Fd& answer);
/// In a process of a new program, or one that becomes it: it ends after some seconds at the latest.
void limit_asked_time();
/// What the process that ended with `status` answered: the version, or why it can't.
Result<std::string> program_answer(int status, const Fd& answer);

}  // namespace ploop::daemon
