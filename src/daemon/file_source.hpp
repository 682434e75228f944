// Where a process that may not use paths gets files from. The worker asks its guardian over the file channel:
//
//   worker -> guardian   open {path, writable, direct, fresh}   guardian -> worker   opened {direct} +
//   descriptor, direct {} + descriptor
//                                                                               (if `direct` says so), or
//                                                                               error {...}
//   worker -> guardian   user {path}                       guardian -> worker   user {message}
//
// The guardian keeps no copy of what it opened: the end of the last descriptor, and of its I/O, is the end of
// the locks on the file. It keeps references, from which the next worker gets the same files
// (level_files.hpp).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "daemon/channel.hpp"
#include "daemon/level_files.hpp"
#include "io/posix_file.hpp"

namespace ploop::daemon {

/// What a name means: the file that has been a level of the device until now, or one that a command has just
/// named.
enum class FileRole { Level, Fresh };

class FileSource {
 public:
  virtual ~FileSource() = default;
  /// `direct`: the ring will use it. ExitCode::Open and the like; the caller locks it before reading.
  virtual Result<std::unique_ptr<io::PosixFile>> open(const std::string& path, bool writable, bool direct,
                                                      FileRole role) = 0;
  /// The error for a file that somebody else has locked, with the device that uses it if there is one.
  /// ExitCode::Mount.
  virtual Error busy(const std::string& path) = 0;
};

/// From the guardian; waits for it. Used by one thread.
class GuardianFiles final : public FileSource {
 public:
  explicit GuardianFiles(Channel guardian) : guardian_(std::move(guardian)) {}
  Result<std::unique_ptr<io::PosixFile>> open(const std::string& path, bool writable, bool direct,
                                              FileRole role) override;
  Error busy(const std::string& path) override;

 private:
  Result<Message> ask(const char* what, const std::string& body, std::string_view expected);
  Channel guardian_;
};

/// All images of an order, opened beforehand; each can be had once.
class PreparedFiles final : public FileSource {
 public:
  /// Opens everything, in a process that still may.
  static Result<PreparedFiles> open_all(const control::AttachSpec& spec, LevelFiles& levels);
  Result<std::unique_ptr<io::PosixFile>> open(const std::string& path, bool writable, bool direct,
                                              FileRole role) override;
  Error busy(const std::string& path) override;

 private:
  struct Prepared {
    std::string path;
    bool writable;
    io::PosixDescriptors descriptors;
  };
  std::vector<Prepared> files_;
};

/// How files are opened for another process, which is not trusted to name one: no symbolic link at the end,
/// never made.
io::PosixOpenOptions confined(bool writable, bool direct);

}  // namespace ploop::daemon
