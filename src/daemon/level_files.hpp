// The guardian's hold on the files of its device: which ones they are. The names in the attach order are
// those of the time when a command gave them; since then the disk may have been moved away, and another one
// put in its place. So the guardian keeps a reference to each file (O_PATH: it is no open file, and has no
// part in the locks), from which every worker gets the file anew.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file_id.hpp"
#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/chain_messages.hpp"
#include "io/posix_file.hpp"

namespace ploop::daemon {

class LevelFiles {
 public:
  /// `order` is what the device consists of. Which file a level is gets noted there.
  explicit LevelFiles(control::AttachSpec& order) : order_(&order) {}

  /// A level of the device, by its name in the order. The first time it is opened by that name, from then on
  /// it is the same file. ExitCode::Open and the like.
  Result<io::PosixDescriptors> open_level(const std::string& path, const io::PosixOpenOptions& options);
  /// One that a command wants to become a level. ExitCode::Open when it is not the file that the command
  /// means.
  Result<io::PosixDescriptors> open_fresh(const control::DeltaSpec& wanted,
                                          const io::PosixOpenOptions& options);

  /// Notes which files the levels of `next` are: `fresh` ones as they were opened last, the others as they
  /// are in the order. ExitCode::Param when one is not known.
  Status identify(control::ChainState& next) const;
  /// Lets go of all that are not levels. To be called when no change is under way.
  void forget_others();

  /// One descriptor per level, -1 for one that was never opened; they stay ours. And back, in another program
  /// of this process.
  [[nodiscard]] std::vector<int> descriptors() const;
  void adopt(const std::vector<int>& descriptors);

 private:
  struct Kept {
    FileId id;
    Fd reference;
  };
  [[nodiscard]] const Fd* find(const FileId& id) const;
  /// Opens by name and keeps a reference. `wanted`: only if it is this file; `otherwise` says what is wrong
  /// if not.
  Result<std::pair<io::PosixDescriptors, FileId>> open_by_name(const std::string& path,
                                                               const io::PosixOpenOptions& options,
                                                               const std::optional<FileId>& wanted,
                                                               std::string_view otherwise);

  control::AttachSpec* order_;
  std::vector<Kept> kept_;
  std::vector<std::pair<std::string, FileId>> fresh_;  ///< what was opened for a change, last one last
};

}  // namespace ploop::daemon
