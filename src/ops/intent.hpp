// The note that an operation of several steps leaves beside the descriptor, so that whoever comes next can
// finish or undo it: `.ploop-intent`, or `.NAME.ploop-intent` of a descriptor with another name than the
// usual one, since disks may share a directory. Written before the first step, removed after the last one,
// replaced in one step each time. The state of the disk is valid at every moment in between, also for
// programs that don't know the note; see docs/crash-consistency.md, D4.
//
// Everything in the file is untrusted: names are relative to the descriptor's directory, without "..", and
// whoever uses them opens them beneath that directory.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace ploop::ops {

struct Intent {
  std::string op = {};     ///< the verb: which handler of ops/recover.cpp understands the rest
  std::string uuid = {};   ///< node that it works on; "" when there is none
  std::string phase = {};  ///< for operations that tell their steps apart; may be ""
  /// Files that the operation makes. Undoing removes those that the descriptor does not name.
  std::vector<std::string> creates = {};
  /// Files that the operation removes at its end. Finishing removes those that the descriptor no longer
  /// names.
  std::vector<std::string> consumes = {};
  std::map<std::string, std::string> parameters = {};
  bool operator==(const Intent&) const = default;
};

/// Beside the descriptor.
std::string intent_path(const std::string& descriptor_path);

/// A file as the note names it: relative to the descriptor's directory. ExitCode::Descriptor for a file that
/// is not below it. And back, without looking at the file.
Result<std::string> intent_name(const std::string& descriptor_path, const std::string& file);
std::string intent_file(const std::string& descriptor_path, const std::string& name);

/// Writes or replaces the note, durable when it returns. The caller holds the descriptor's lock.
Status write_intent(const std::string& descriptor_path, const Intent& intent);

/// Removes the note for good. A missing one is fine.
Status remove_intent(const std::string& descriptor_path);

/// The note, if there is one. ExitCode::Busy when it can't be understood, is damaged, was written by a newer
/// program or belongs to another descriptor of the directory: the disk must not be modified then.
Result<std::optional<Intent>> read_intent(const std::string& descriptor_path);

/// Text of a note for the descriptor called `descriptor`, and back; for tests and the functions above.
std::string encode_intent(const Intent& intent, std::string_view descriptor);
Result<Intent> decode_intent(std::string_view text, std::string_view descriptor);
/// A JSON object with the right checksum, whatever else it says: for tests that look behind the checksum.
Result<std::string> seal_intent(std::string_view object);

}  // namespace ploop::ops
