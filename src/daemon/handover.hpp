// What a guardian gives to the program that replaces it in the same process: a text in a memory file, and
// descriptors that stay open under their numbers. The process, its children, locks and descriptors are the
// same before and after; only the program is another.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/device_state.hpp"

namespace ploop::daemon {

/// Descriptors are numbers here: nobody owns them before the new guardian takes them into its parts.
struct Handover {
  std::string program;  ///< version of the program that wrote it
  control::AttachSpec spec;
  control::DeviceState state;
  std::string side;  ///< what KernelSide::hand_over() gave
  pid_t keeper_pid = -1;
  int keeper_channel = -1;
  unsigned pending_sizes = 0;  ///< answers of the keeper to come that nobody waits for
  int lock = -1;               ///< of the device's number
  int map = -1;
  int control_socket = -1;
  int admin_socket = -1;
  int asker = -1;             ///< the connection of the command that wants the upgrade; -1: it is gone
  std::uint64_t request = 0;  ///< its number
  std::vector<int>
      files;           ///< references to the images, one per level; -1 for one that is known by its name only
  int previous = -1;   ///< the program to go back to when this one can't serve; -1 on the way back
  std::string failed;  ///< on the way back: what was wrong with the other program
};

/// Text of a JSON object and back. ExitCode::Protocol for a text that is malformed, of another format, or
/// with another layout of the live map: this program can't take over then.
std::string encode_handover(const Handover& handover);
Result<Handover> decode_handover(std::string_view text);

/// A memory file with the text. ExitCode::System.
Result<Fd> handover_file(const Handover& handover);
/// The whole text, whatever the file's position. ExitCode::Read.
Result<std::string> read_handover(int file);

/// `--can-take-over`: reads such a text and writes one line of JSON, {"program": VERSION} or {"error":
/// {...}}. The result is the exit status. Changes nothing.
int answer_can_take_over(int text, int answer, std::string_view version);

/// Writes such a line: the version, or why it can't. The result is the exit status.
int tell_answer(int answer, const Status& could, std::string_view version);

/// Close-on-exec of descriptors that cross the change of programs.
void set_kept(const std::vector<int>& descriptors, bool kept);
/// Whether the next program serves, or only shows in a child that it could; then its standard output gets the
/// answer.
enum class Resume { Really, Rehearsal };
/// Becomes `program`, which finds the text in `text`. Returns only when that fails, with everything as
/// before. ExitCode::System.
Status become_program(const Fd& program, const Fd& text, std::vector<int> kept, Resume how);

}  // namespace ploop::daemon
