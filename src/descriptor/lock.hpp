// The lock of one disk: `<descriptor>.lck`. Two kinds of lock are held on it, flock as the original tools
// take it and an open file description lock, which also works between hosts. The file stays behind; it has no
// content.
#pragma once

#include <chrono>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::descriptor {

struct LockOptions {
  std::chrono::milliseconds timeout{60000};
};

/// Held from acquire() to destruction. Not inherited by programs that are started meanwhile.
class DescriptorLock {
 public:
  DescriptorLock() = default;

  /// `descriptor` is the canonical path; the file itself need not exist (init). Waits, then fails with
  /// ExitCode::Lock and "The X.lck is locked". On a read-only file system, where nobody can write, a lock
  /// file that is missing is no obstacle. ExitCode::Lock too when the lock file can't be opened.
  static Result<DescriptorLock> acquire(const std::string& descriptor, const LockOptions& options = {});

  [[nodiscard]] const std::string& path() const { return path_; }
  /// Removes the file: only for an init that failed.
  void remove_file();

 private:
  Fd fd_;
  std::string path_;
};

}  // namespace ploop::descriptor
