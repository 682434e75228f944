// Opening a disk for work: lock, finish or undo what a killed command left, load. Every command that modifies
// a disk, mount, umount and check begin with open_disk().
//
// How an operation becomes recoverable: it calls write_intent() before its first step, stages its new
// descriptor with stage_descriptor() and makes it the real one with commit_descriptor() (or lets the running
// device do that, with a CommitPoint), calls remove_intent() last. The handler for its verb is in the table
// of recover.cpp; most operations need settle_files() only, because the descriptor tells whether the
// operation took place.
#pragma once

#include <string>

#include "base/result.hpp"
#include "control/chain_messages.hpp"
#include "descriptor/store.hpp"
#include "ops/intent.hpp"

namespace ploop::ops {

enum class Recovery {
  Required,     ///< an operation that can't be finished or undone is an error: ExitCode::Busy, or that of the
                ///< step
  TopSuffices,  ///< it is logged, and the note stays, when only lower nodes are affected: for mount. See
                ///< refuse_half_done()
  BestEffort,   ///< it is logged, and the note stays: for umount, which must always be possible
};

/// What became of an interrupted operation.
enum class Outcome { Finished, Undone };

struct OpenDiskOptions {
  descriptor::LockOptions lock = {};
  Recovery recovery = Recovery::Required;
};

/// A disk under its lock, and what was recovered on the way.
struct OpenedDisk : descriptor::Locked {
  std::optional<Intent> recovered;  ///< the interrupted operation, when there was one that could be completed
  Outcome outcome = Outcome::Undone;
  /// True when the operation that `request` describes was interrupted before and has just been finished: a
  /// user who repeats a command must not get it twice. Operations put their words into the parameter
  /// "request".
  [[nodiscard]] bool just_finished(std::string_view op, std::string_view request) const;
};

/// Resolves, locks, recovers, loads. Errors as descriptor::lock_and_load(). Recovering logs one line.
Result<OpenedDisk> open_disk(const std::string& path, const OpenDiskOptions& options = {});

/// After Recovery::TopSuffices: ExitCode::Busy when the content of this node belongs to an operation that is
/// not completed.
Status refuse_half_done(const std::string& descriptor_path, std::string_view uuid);

/// What a handler works on. The descriptor is locked; `disk` is what it says.
struct Interrupted {
  const std::string& path;  ///< of the descriptor
  descriptor::Disk& disk;   ///< a handler that stores another one leaves it here
  const Intent& intent;
};
/// Parameter of notes: UUIDs, separated by blanks, of nodes whose own content is not right until the
/// operation is finished.
inline constexpr const char* kHalfDone = "half-done";
/// Parameter of notes: what the user asked for, for OpenedDisk::just_finished().
inline constexpr const char* kRequest = "request";

using RecoverHandler = Result<Outcome> (*)(Interrupted& work);

/// The descriptor names this file, an absolute path, as an image.
bool names(const descriptor::Disk& disk, const std::string& file);

/// For operations whose only durable change to the disk is the exchange of the descriptor: the files of
/// `creates` and `consumes` that the descriptor does not name are removed. Finished when it names all that
/// were to be created and none that was to be consumed.
Result<Outcome> settle_files(Interrupted& work);

/// The failure of an operation whose note stays, with words that say so: the next command on the disk goes on
/// with `what`, "the merge".
tl::unexpected<Error> to_be_continued(Error error, std::string_view what);

/// Name of the staged descriptor: "<xml>.tmp", as always; "<xml>.tmp." and a random word once a device has
/// been told of it.
std::string staged_path(const std::string& descriptor_path);
/// Writes the new descriptor there, durable. Logs "Storing PATH.tmp".
Status stage_descriptor(descriptor::Disk& disk, const std::string& descriptor_path);
/// The staged one becomes the descriptor, durable when it returns. ExitCode::Rename: nothing has changed.
/// With any other code it has taken place, but may not be durable: `rollback` is committed, and the note
/// tells the next command.
Status commit_descriptor(const std::string& descriptor_path, Rollback& rollback);
Status commit_descriptor(const std::string& descriptor_path);
/// The commit point for a running device: the staged descriptor, under a name that no other command uses. A
/// device that is late with a dead command's commit point finds nothing to rename, never what the next
/// command has staged. ExitCode::Rename.
Result<control::CommitPoint> commit_point(const std::string& descriptor_path);
/// Takes away whatever is staged. From here on nobody, not even a running device, can commit it any more.
Status unstage_descriptor(const std::string& descriptor_path);

/// Logs "Removing FILE" and removes an image of the disk, durable. The name is opened beneath the
/// descriptor's directory. A file that is gone is fine. ExitCode::Unlink, ExitCode::Descriptor.
Status remove_image(const std::string& descriptor_path, const std::string& file);

}  // namespace ploop::ops
